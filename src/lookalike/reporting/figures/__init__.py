"""Figures of any study, a module each: its declaration, and the function that draws it; a new module is a new one."""
