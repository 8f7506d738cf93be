"""The dashboard: the first page of the admin.

`queries` reads a constant number of times, whatever the tables hold; `facts` is what was read; `headline` and the
panels say it in `parts`; `pages` shows them. All but `queries` and `pages` are pure. What is above this application
adds panels with `parts.on_dashboard`.
"""
