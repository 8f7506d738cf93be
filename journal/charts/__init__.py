"""Charts as SVG, drawn on the server: no script, no inline style, nothing of any framework.

`scale` turns values into places, `plot` draws on them, `chart` puts a drawing together with its figures for those who
cannot see it. Colours and letters are classes of `journal/charts.css`.
"""
