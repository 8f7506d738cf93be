"""The pages of reflection: of its work, and of challengers."""

from reflection import challenger_pages as challenger_pages
from reflection import work_pages as work_pages
