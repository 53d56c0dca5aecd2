"""What the rooms agree on, one page each.

`classifier`, `features`, `backbone`, `explanation` (the record), `settings` (keys of a study), `analysis`, `report`
(tables and figures of methods), `drawing` (the canvas of explanations), `citations`.
"""
