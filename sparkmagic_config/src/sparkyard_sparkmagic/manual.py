"""What %%help shows: every magic with an example and what it does here."""

from html import escape

ROWS = (
    ("spark", "%%spark -o df\ndf = spark.read.parquet('...')",
     ("Runs the kernel's own language on Spark, as a bare cell does. -o NAME brings the DataFrame of that name into "
     "%%local as a pandas DataFrame; -n ROWS fetches so many rows (2,500 unless told, -1 for all), -m sample -r 0.1 "
     "a sample.")),
    ("sql", "%%sql -o tables\nSHOW TABLES",
     ("Runs an SQL statement and shows its rows as a table that can be sorted. -o, -n, -m and -r as above; -q shows "
     "nothing.")),
    ("pyspark, scala", '%%scala\nspark.table("flights").count()',
     "Runs Python or Scala on Spark in any kernel: temporary views and tables are the same for all languages."),
    ("r", "%%r\nhist(rnorm(1000))",
     "Runs R in the session, in any kernel, where the session's image has it; with SparkR on the same tables."),
    ("local", "%%local\nprint(df.shape)", "Runs Python here in the notebook server, not on Spark."),
    ("configure", '%%configure -f\n{"executorMemory": "4g", "conf": {"spark.sql.shuffle.partitions": "64"}}',
     ("Sets what your session is asked for, over the profile's defaults and ~/sparkyard.toml. It is checked first; "
      "then the session is replaced, which needs -f once statements have run in it.")),
    ("info", "%%info", "Shows the session's settings and your sessions."),
    ("logs", "%%logs", "Shows the driver's log."),
    ("send_to_spark", "%%send_to_spark -i frame -t df -n name",
     ("Makes a local text (-t str) or pandas DataFrame (-t df) a variable of the session; -m ROWS sends so many rows "
     "(2,500 unless told, -1 for all).")),
    ("pretty", "%%pretty\ndf.show()", "Runs the cell and shows the tables in what it prints as HTML."),
    ("matplot, json, table", "%matplot plt", "Show a figure, a JSON value or rows of the session."),
    ("delete", "%%delete -f -s 12", "Ends another of your sessions."),
    ("cleanup", "%%cleanup -f", "Ends all of your sessions, this notebook's too."),
)  # fmt: skip


def bundle() -> dict[str, str]:
    """For the notebook."""
    left = 'style="text-align:left;white-space:pre-wrap"'
    rows = "".join(
        f'<tr><th scope="row" {left}>{escape(name)}</th><td {left}><code>{escape(example)}</code></td>'
        f"<td {left}>{escape(text)}</td></tr>"
        for name, example, text in ROWS
    )
    head = "".join(f'<th scope="col" {left}>{name}</th>' for name in ("Magic", "Example", "What it does"))
    return {
        "text/plain": "\n\n".join(f"{example}\n    {text}" for _, example, text in ROWS),
        "text/html": f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>",
    }
