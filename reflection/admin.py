"""The pages of reflection: of its work, of challengers, and its panel on the dashboard."""

from reflection import challenger_pages as challenger_pages
from reflection import dashboard_panel as dashboard_panel
from reflection import work_pages as work_pages
