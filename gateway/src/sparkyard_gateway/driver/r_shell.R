# R's half of kind sparkr: runs cells and completes names for the driver, which speaks to it over two pipes.
#
# A message is a frame: its length in four bytes, then fields, each with its length in four bytes. What R prints goes to
# the descriptors 1 and 2, which the driver reads; what a cell made of it all comes as a frame.
#
# This code lives in an environment of its own, whose parent is `base`: no name in a cell hides one that is used here, and
# `rm(list = ls())` takes nothing of it away. Interrupts are held back everywhere but in the user's own code. A cell that
# breaks all this ends this R, which the driver notices and says.

local(envir = new.env(parent = baseenv()), {
  MOST_CALLS <- 100L
  MOST_WARNINGS <- 50L
  MOST_PICTURES <- 40L
  PICTURE_BYTES <- 4e6
  MESSAGE_BYTES <- 1e6

  # Without keeping source, or the lines of this file would stand in the tracebacks of cells.
  options(keep.source = FALSE)
  descriptors <- commandArgs(trailingOnly = TRUE)
  pipes <- new.env()
  spark <- new.env()

  # Messages ---------------------------------------------------------------------------------------------------------

  # `closeAllConnections()` in a cell closes these too; the descriptors below them stay.
  connection <- function(name, mode) {
    path <- file.path("/dev/fd", name)
    found <- pipes[[name]]
    # By its name, as R gives the number of a closed one to the next.
    alive <- !is.null(found) && tryCatch(summary(found)$description == path, error = function(e) FALSE)
    if (!alive) {
      found <- file(path, mode, raw = TRUE)
      assign(name, found, envir = pipes)
    }
    found
  }

  receive <- function() {
    con <- connection(descriptors[1L], "rb")
    size <- readBin(con, "integer", 1L, size = 4L, endian = "big")
    if (length(size) == 0L) return(NULL)
    bytes <- readBin(con, "raw", size)
    fields <- character()
    at <- 0L
    while (at < size) {
      width <- readBin(bytes[at + 1:4], "integer", 1L, size = 4L, endian = "big")
      field <- rawToChar(bytes[at + 4L + seq_len(width)])
      Encoding(field) <- "UTF-8"
      fields <- c(fields, field)
      at <- at + 4L + width
    }
    fields
  }

  as_bytes <- function(field) {
    if (is.raw(field)) return(field)
    charToRaw(enc2utf8(as.character(field)[1L]))
  }

  send <- function(...) {
    parts <- lapply(list(...), as_bytes)
    body <- unlist(lapply(parts, function(part) c(writeBin(length(part), raw(), endian = "big"), part)))
    con <- connection(descriptors[2L], "wb")
    writeBin(c(writeBin(length(body), raw(), endian = "big"), body), con)
    flush(con)
  }

  send_list <- function(fields) do.call(send, fields, quote = TRUE)

  say <- function(...) cat(..., sep = "", file = stderr())

  # Pictures ---------------------------------------------------------------------------------------------------------

  pictures <- new.env()
  pictures$folder <- NULL
  pictures$device <- NULL
  pictures$told <- FALSE

  # What a plot opens where no device is open: R would write Rplots.pdf into the working folder.
  open_device <- function(...) {
    if (is.null(pictures$folder)) pictures$folder <- tempfile("pictures")
    dir.create(pictures$folder, showWarnings = FALSE)
    files <- file.path(pictures$folder, "plot%05d.png")
    opened <- tryCatch({
      grDevices::png(files, width = 840, height = 560, res = 110, type = if (capabilities("cairo")) "cairo" else "Xlib")
      TRUE
    }, error = function(e) FALSE, warning = function(w) FALSE)
    if (!opened) {
      grDevices::pdf(NULL)
      if (!pictures$told) say("[This R cannot draw pictures: it has no png device. Its image lacks cairo.]\n")
      pictures$told <- TRUE
    }
    pictures$device <- grDevices::dev.cur()
    invisible()
  }

  show_pictures <- function() {
    device <- pictures$device
    if (is.null(device)) return()
    pictures$device <- NULL
    if (device %in% grDevices::dev.list()) tryCatch(grDevices::dev.off(device), error = function(e) NULL)
    files <- sort(list.files(pictures$folder, full.names = TRUE))
    shown <- files[seq_len(min(length(files), MOST_PICTURES))]
    for (path in shown) {
      size <- file.info(path)$size
      if (is.na(size) || size > PICTURE_BYTES) {
        say("[A picture of ", size, " bytes is left out: more than ", PICTURE_BYTES, ".]\n")
      } else {
        send("picture", readBin(path, "raw", size))
      }
    }
    if (length(files) > length(shown)) say("[", length(files) - length(shown), " more pictures are left out.]\n")
    unlink(files)
  }

  # Errors and warnings ----------------------------------------------------------------------------------------------

  state <- new.env()
  state$base <- 0L
  state$calls <- NULL
  state$warnings <- list()

  text_of <- function(call) {
    told <- tryCatch(deparse(call, nlines = 2L, width.cutoff = 60L), error = function(e) "<a call>")
    if (length(told) > 1L) paste(told[1L], "...") else told
  }

  name_of <- function(call) {
    if (is.call(call) && is.symbol(call[[1L]])) as.character(call[[1L]]) else "<anonymous>"
  }

  place_of <- function(call) {
    reference <- attr(call, "srcref")
    if (is.null(reference)) return(c("", "0"))
    file <- attr(reference, "srcfile")$filename
    c(if (is.character(file)) file[1L] else "", as.character(as.integer(reference)[1L]))
  }

  # The calls that an error came through: those of the cell, without ours before and R's own machinery after them.
  on_error <- function(e) {
    calls <- sys.calls()
    calls <- calls[-length(calls)]
    names <- vapply(calls, name_of, "")
    machinery <- which(names %in% c(".handleSimpleError", ".signalSimpleWarning") & seq_along(calls) > state$base)
    if (length(machinery)) calls <- calls[seq_len(machinery[1L] - 1L)]
    state$calls <- if (length(calls) > state$base) calls[seq(state$base + 1L, length(calls))] else list()
  }

  headline <- function(what, call, message) {
    if (is.null(call)) return(paste0(what, ": ", message))
    told <- text_of(call)
    start <- paste0(what, " in ", told, " : ")
    first <- strsplit(message, "\n", fixed = TRUE)[[1L]][1L]
    wide <- nchar(start, "width") + nchar(if (is.na(first)) "" else first, "width") > 77L
    paste0(start, if (wide) "\n  ", message)
  }

  message_of <- function(e) {
    told <- tryCatch(as.character(conditionMessage(e))[1L], error = function(other) NA_character_)
    if (is.na(told)) return("<the condition's message cannot be had>")
    if (nchar(told, "bytes") > MESSAGE_BYTES) paste(substr(told, 1L, MESSAGE_BYTES %/% 8L), "...") else told
  }

  # What happens in no function happens in our `eval`, of which R's prompt would not speak.
  call_of <- function(e) {
    call <- tryCatch(conditionCall(e), error = function(other) NULL)
    if (identical(call, quote(eval(expression, globalenv())))) NULL else call
  }

  # Warnings wait for the end of an expression, as at R's prompt, unless the user's `warn` says otherwise.
  on_warning <- function(w) {
    level <- getOption("warn")
    if (!is.numeric(level) || level >= 2) return()
    if (level >= 1) {
      say(headline("Warning", call_of(w), message_of(w)), "\n")
    } else if (level >= 0 && length(state$warnings) < MOST_WARNINGS) {
      state$warnings <- c(state$warnings, list(w))
    }
    invokeRestart("muffleWarning")
  }

  show_warnings <- function() {
    found <- state$warnings
    state$warnings <- list()
    if (!length(found)) return()
    told <- vapply(found, function(w) {
      call <- call_of(w)
      if (is.null(call)) message_of(w) else sub("^Warning in ", "In ", headline("Warning", call, message_of(w)))
    }, "")
    if (length(told) > 1L) told <- paste0(seq_along(told), ": ", told)
    say(if (length(told) == 1L) "Warning message:\n" else "Warning messages:\n", paste0(told, "\n", collapse = ""))
  }

  # Cells ------------------------------------------------------------------------------------------------------------

  show_value <- function(value) if (isS4(value)) methods::show(value) else print(value)

  # One expression of a cell, as at R's prompt. Nothing but this runs while interrupts are let through.
  evaluate <- function(expression, show) {
    withRestarts(
      withCallingHandlers(
        allowInterrupts({
          result <- withVisible(eval(expression, globalenv()))
          if (show && result$visible) show_value(result$value)
          result$value
        }),
        warning = on_warning, error = on_error
      ),
      abort = function() NULL
    )
  }

  ended <- function(statement, status, told, line, full) {
    calls <- state$calls
    state$calls <- NULL
    if (length(calls) > MOST_CALLS) {
      half <- MOST_CALLS %/% 2L
      calls <- c(calls[seq_len(half)], calls[seq(length(calls) - half + 1L, length(calls))])
    }
    fields <- lapply(calls, function(call) c(place_of(call), name_of(call), text_of(call)))
    send_list(c(list("done", status, told, as.character(line)), unlist(fields)))
  }

  run <- function(statement, code, reconnect) {
    state$calls <- NULL
    state$warnings <- list()
    name <- paste0("<cell ", statement, ">")
    # One that came too late for the last cell must not end this one.
    tryCatch(allowInterrupts(NULL), interrupt = function(e) NULL)
    options(device = open_device)
    join_statement(statement, code, reconnect)
    source <- srcfilecopy(name, strsplit(code, "\n", fixed = TRUE)[[1L]], isFile = FALSE)
    parsed <- tryCatch(parse(text = code, srcfile = source, keep.source = TRUE), error = function(e) e)
    if (inherits(parsed, "error")) {
      told <- message_of(parsed)
      line <- regmatches(told, regexec("^<[^>]*>:([0-9]+):", told))[[1L]]
      return(ended(statement, "error", paste("Error:", told), if (length(line) == 2L) line[2L] else 0L))
    }
    state$base <- tryCatch(evaluate(quote(base::sys.nframe()), FALSE), error = function(e) 0L, interrupt = function(e) 0L)
    references <- attr(parsed, "srcref")
    status <- "ok"
    told <- ""
    line <- 0L
    for (at in seq_along(parsed)) {
      line <- as.integer(references[[at]])[1L]
      tryCatch(
        evaluate(parsed[at], TRUE),
        error = function(e) {
          status <<- "error"
          told <<- headline("Error", call_of(e), message_of(e))
        },
        interrupt = function(e) status <<- "interrupted"
      )
      show_warnings()
      if (status != "ok") break
    }
    tryCatch(show_pictures(), error = function(e) say("[Pictures are lost: ", message_of(e), "]\n"))
    tryCatch(flush(stdout()), error = function(e) NULL)
    ended(statement, status, told, line)
  }

  # Completion -------------------------------------------------------------------------------------------------------

  kind_of <- function(name) {
    if (endsWith(name, "=")) return("param")
    if (endsWith(name, "::")) return("module")
    value <- if (name == make.names(name)) get0(name, envir = globalenv(), ifnotfound = NULL)
    if (is.function(value)) "function" else "instance"
  }

  complete <- function(line) {
    tryCatch({
      setTimeLimit(elapsed = 1.5, transient = TRUE)
      found <- allowInterrupts({
        tools <- asNamespace("utils")
        tools$.assignLinebuffer(line)
        tools$.assignEnd(nchar(line))
        tools$.guessTokenFromLine()
        tools$.completeToken()
        names <- tools$.retrieveCompletions()
        list(tools$.CompletionEnv[["token"]], names, vapply(names, kind_of, ""))
      })
      setTimeLimit()
      send_list(c(list("matches", found[[1L]]), rbind(found[[2L]], found[[3L]])))
    }, error = function(e) send("matches", ""), interrupt = function(e) send("matches", ""))
    setTimeLimit()
  }

  # Spark ------------------------------------------------------------------------------------------------------------

  library_of <- function(home) {
    found <- file.path(home, "R", "lib")
    if (dir.exists(file.path(found, "SparkR"))) .libPaths(c(found, .libPaths()))
    if (nzchar(system.file(package = "SparkR"))) as.character(utils::packageVersion("SparkR")) else ""
  }

  # SparkR takes port and secret from the environment, where the processes that cells start would find them.
  with_secret <- function(code) {
    Sys.setenv(EXISTING_SPARKR_BACKEND_PORT = spark$port, SPARKR_BACKEND_AUTH_SECRET = spark$secret)
    on.exit(Sys.unsetenv(c("EXISTING_SPARKR_BACKEND_PORT", "SPARKR_BACKEND_AUTH_SECRET")))
    code
  }

  connect <- function(port, secret) {
    spark$port <- port
    spark$secret <- secret
    failed <- tryCatch({
      told <- character()
      withCallingHandlers({
        utils::capture.output({
          suppressPackageStartupMessages(library("SparkR", character.only = TRUE, warn.conflicts = FALSE))
          session <- with_secret(SparkR::sparkR.session(enableHiveSupport = FALSE))
        })
      }, warning = function(w) {
        told <<- c(told, message_of(w))
        invokeRestart("muffleWarning")
      }, message = function(m) invokeRestart("muffleMessage"))
      assign("spark", session, envir = globalenv())
      inside <- asNamespace("SparkR")
      assign("sc", inside$callJStatic("org.apache.spark.sql.api.r.SQLUtils", "getJavaSparkContext", session), globalenv())
      spark$connected <- TRUE
      send_list(c(list("connected", ""), told))
      NULL
    }, error = message_of)
    if (!is.null(failed)) send("connected", failed)
  }

  # After an interrupt an answer may be under way that nobody waits for, and the next call would take it for its own.
  reconnect_spark <- function() {
    inside <- asNamespace("SparkR")
    kept <- inside$.sparkREnv
    tryCatch(close(kept[[".sparkRCon"]]), error = function(e) NULL)
    rm(list = intersect(c(".sparkRCon", ".sparkRcon"), ls(kept, all.names = TRUE)), envir = kept)
    inside$connectBackend("localhost", spark$port, 6000, spark$secret)
  }

  # Jobs from here on are this statement's, by the number that its cancel knows.
  join_statement <- function(statement, code, reconnect) {
    if (!isTRUE(spark$connected)) return()
    tryCatch({
      if (reconnect == "yes") reconnect_spark()
      lines <- trimws(strsplit(code, "\n", fixed = TRUE)[[1L]])
      lines <- lines[nzchar(lines) & !startsWith(lines, "#")]
      what <- paste0("cell ", statement, if (length(lines)) paste0(": ", substr(lines[1L], 1L, 100L)))
      SparkR::setJobGroup(statement, what, TRUE)
    }, error = function(e) say("[Spark does not answer R: ", message_of(e), "]\n"), warning = function(w) NULL)
  }

  # The loop ---------------------------------------------------------------------------------------------------------

  answer <- function(request) {
    switch(request[1L],
      hello = send("ready", paste(R.version$major, R.version$minor, sep = "."), library_of(request[2L])),
      connect = connect(request[2L], request[3L]),
      run = run(request[2L], request[3L], request[4L]),
      complete = complete(request[2L])
    )
  }

  suspendInterrupts(repeat {
    request <- receive()
    if (is.null(request)) break
    answer(request)
  })
  quit(save = "no", runLast = FALSE)
})
