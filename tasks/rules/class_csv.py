"""The rules of tables of classes."""

from typing import Final

from tasks.rules._rule import SET_ASIDE, Rule

RULES: Final[dict[str, Rule]] = {
    "csv.malformed": Rule("error", "a CSV in UTF-8", "export the table again"),
    "csv.header": Rule("error", "a class a column, each name once", "correct the first line"),
    "csv.columns": Rule("error", "a cell for each column", f"correct the line; {SET_ASIDE}"),
    "csv.cell": Rule("error", "0 or 1", f"correct the cell; {SET_ASIDE}"),
    "csv.twice": Rule("error", "a line an image", "delete one of the lines: nobody knows which one is meant"),
    "csv.classes": Rule(
        "warning", "the same classes in each table", "nothing: a class that a table lacks is in none of its images"
    ),
}
