"""Tables of any study, a module each: its declaration, and the function that draws it. A new module is a new table."""
