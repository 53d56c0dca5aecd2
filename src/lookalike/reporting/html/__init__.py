"""The report page: `report` fills the template beside it."""

from pathlib import Path

TEMPLATE = Path(__file__).with_name("report.html.jinja")
