"""The driver program: one process per session, in the user's image, with the SparkContext, running statements.

It needs the standard library and pyspark alone (Python 3.8 and later), imports nothing of ours outside this
folder, and dials out to the gateway; nobody dials in. It runs as a folder or as a zip application:
`PYTHON <here> --bootstrap-fd N`.

Words used here:

    statement   one piece of code with a number counted by the gateway, run once, in order
    cell        the source of a statement as Python sees it; its file name is `<cell NUMBER>`
    reply       what a statement answers, in the shape of Livy's `output`
    durable     a message that is journaled before it is sent and sent again until the gateway has acknowledged it
    strike      one SIGINT sent to the main thread to raise KeyboardInterrupt in a cancelled statement

Threads: the main thread runs statements and nothing else; `link` talks with the gateway; small ones beside them stream
output, watch progress, watch the JVM, complete and cancel.
"""
