// The JVM's half of the Scala interpreter: it runs one chunk on a thread of its own, holds what that prints until the
// driver takes it, and stops it as far as a JVM lets itself be stopped.
//
// The driver compiles this file with the very interpreter that it then drives, so it fits the Scala of any Spark.

package sparkyard.shell

import java.io.{ByteArrayOutputStream, OutputStream, PrintStream, StringReader}
import scala.tools.nsc.interpreter.IMain

/** Thrown into code that prints although its statement was cancelled. */
final class Cancelled extends RuntimeException("the statement was cancelled")

/** What a chunk prints, until it is taken. A chunk that prints faster than that has to wait. */
final class Pipe(limit: Int) extends OutputStream {
  private val held = new ByteArrayOutputStream
  private var open = true
  @volatile var broken = false

  override def write(byte: Int): Unit = write(Array(byte.toByte), 0, 1)

  override def write(bytes: Array[Byte], from: Int, count: Int): Unit = synchronized {
    while (open && !broken && held.size >= limit) wait(100)
    if (broken && open) throw new Cancelled
    if (open) {
      held.write(bytes, from, count)
      notifyAll()
    } else Shell.log.write(bytes, from, count) // a thread that has outlived its statement
  }

  def take(millis: Long): Array[Byte] = synchronized {
    if (held.size == 0 && open) wait(millis)
    val bytes = held.toByteArray
    held.reset()
    notifyAll()
    bytes
  }

  def shut(): Unit = synchronized { open = false; notifyAll() }

  def drained: Boolean = synchronized { !open && held.size == 0 }
}

/** `System.out` for Java code: what a statement's threads print is the statement's, all else goes to the log. */
final class Router extends OutputStream {
  override def write(byte: Int): Unit = target.write(byte)
  override def write(bytes: Array[Byte], from: Int, count: Int): Unit = target.write(bytes, from, count)
  override def flush(): Unit = target.flush()
  private def target: OutputStream = { val pipe = Shell.carried.get; if (pipe == null) Shell.log else pipe }
}

object Shell {
  val log: PrintStream = System.out
  private[shell] val carried = new InheritableThreadLocal[Pipe]
  @volatile var spark: org.apache.spark.sql.SparkSession = null
  @volatile var sc: org.apache.spark.SparkContext = null
  @volatile var result = ""
  @volatile private var thrown: Throwable = null
  @volatile private var pipe: Pipe = null
  @volatile private var thread: Thread = null
  @volatile private var running = false
  System.setOut(new PrintStream(new Router, true, "UTF-8"))

  /** Around the user's code, and not around its compilation, which must never be interrupted: it reads jars. */
  def execute[T](body: => T): T = {
    running = true
    try body
    catch { case error: Throwable => thrown = error; throw error }
    finally {
      running = false
      Thread.interrupted()
    }
  }

  def start(interpreter: IMain, code: String, limit: Int): Unit = {
    val mine = new Pipe(limit)
    pipe = mine
    thrown = null
    result = ""
    thread = new Thread("sparkyard-scala") {
      override def run(): Unit = {
        setContextClassLoader(interpreter.classLoader)
        carried.set(mine)
        val out = new PrintStream(mine, true, "UTF-8")
        try Console.withIn(new StringReader("")) {
          Console.withOut(out) { Console.withErr(out) { result = interpreter.interpret(code).toString } }
        } catch { case error: Throwable => if (thrown == null) thrown = error }
        finally {
          out.flush()
          mine.shut()
        }
      }
    }
    thread.setDaemon(true)
    thread.start()
  }

  def take(millis: Long): Array[Byte] = pipe.take(millis)

  def drained: Boolean = pipe.drained

  def interrupt(): Unit = {
    if (pipe != null) pipe.broken = true
    if (running) thread.interrupt()
  }

  /** Where Java still has it, raise ThreadDeath in a loop that heeds no interrupt; but only while the thread is in the
    * cell's own code or in libraries without state: inside of Spark it would leave half-done work behind. */
  def stop(): Boolean = running && {
    val frames = thread.getStackTrace.map(_.getClassName)
    val below = frames.takeWhile(!_.startsWith("$line"))
    val safe = below.length < frames.length && below.forall { name =>
      Seq("java.lang.", "java.util.", "java.math.", "scala.").exists(prefix => name.startsWith(prefix)) &&
        !name.startsWith("java.util.concurrent.locks.")
    }
    safe && (try { classOf[Thread].getMethod("stop").invoke(thread); true } catch { case _: Exception => false })
  }

  /** What was thrown, root and all, in one string: records end in \u0002, fields in \u0001. */
  def told: String = {
    val text = new StringBuilder
    var error = thrown
    while (error != null && error.getCause != null &&
      (error.isInstanceOf[ExceptionInInitializerError] || error.isInstanceOf[java.lang.reflect.InvocationTargetException]))
      error = error.getCause
    var depth = 0
    while (error != null && depth < 8) {
      text ++= "E\u0001" ++= String.valueOf(error) ++= "\u0002"
      for (frame <- error.getStackTrace.take(400)) {
        val file = if (frame.getFileName == null) "" else frame.getFileName
        text ++= "F\u0001" ++= frame.getClassName ++= "\u0001" ++= frame.getMethodName ++= "\u0001" ++= file
        text ++= "\u0001" ++= frame.getLineNumber.toString ++= "\u0002"
      }
      depth += 1
      error = if (error.getCause eq error) null else error.getCause
    }
    text.toString
  }

  /** What stands at the top level of code that was parsed: `ClassDef@5 Apply@40`, with the place of each. */
  def kinds(trees: Any): String = trees
    .asInstanceOf[List[scala.reflect.internal.Trees#Tree]]
    .map { tree =>
      val kind = tree.getClass.getName.split('$').last
      s"$kind@${if (tree.pos.isDefined) tree.pos.point else -1}"
    }
    .mkString(" ")

  def json(value: Any): String = org.json4s.jackson.Serialization.write(plain(value).asInstanceOf[AnyRef])(org.json4s.DefaultFormats)

  /** Spark's rows by their columns' names, as json4s sees nothing but their schema. */
  private def plain(value: Any): Any = value match {
    case _: org.apache.spark.sql.Dataset[_] =>
      throw new IllegalArgumentException("its rows are on the executors; take some first: val rows = name.take(1000)")
    case row: org.apache.spark.sql.Row =>
      val names = if (row.schema == null) row.toSeq.indices.map(_.toString) else row.schema.fieldNames.toSeq
      scala.collection.immutable.ListMap(names.zip(row.toSeq.map(plain)): _*)
    case map: scala.collection.Map[_, _] => map.map { case (key, item) => String.valueOf(key) -> plain(item) }.toMap
    case items: Array[_] => items.toList.map(plain)
    case items: Iterable[_] => items.toList.map(plain)
    case time: java.util.Date => time.toString
    case time: java.time.temporal.Temporal => time.toString
    case number: java.math.BigDecimal => BigDecimal(number)
    case other => other
  }
}
