// The theme's htmx writes a style of its own into each page, which the pages' policy forbids and none of them needs.
"use strict";

htmx.config.includeIndicatorStyles = false;
