// One session: what it is, what it does, what went wrong, and its statements.
"use strict";

(() => {
  const { $, announce, clock, label, listen, make, progress, put, since, size, text } = page;
  const id = document.body.dataset.session;
  let row = null;

  const fact = (name, value) => (value ? make("div", {}, make("dt", {}, name), make("dd", {}, value)) : null);

  const facts = () => {
    const both = row.driverImage === row.executorImage;
    const age = row.ended ? `${page.span(row.ended - row.created)}, until ${page.when(row.ended)}` : since(row.created);
    put(
      $("facts"),
      fact("Owner", row.owner + (row.team ? ` (${row.team})` : "")),
      fact("Profile", row.profile),
      fact(both ? "Image" : "Driver", row.driverImage),
      both ? null : fact("Executors", row.executorImage),
      fact("Spark", row.spark),
      fact("Kind", row.kind),
      fact("Age", age),
      fact("Memory", memory()),
      fact("Note", row.notice),
    );
  };

  const head = () => {
    text($("title"), `Session ${label(row)}`);
    document.title = `Session ${label(row)} · Sparkyard`;
    const state = $("state");
    state.className = page.stateClass(row);
    text(state, page.stateWords(row.state));
    state.hidden = false;
    text($("reason"), (row.state === "starting" ? row.phase : row.reason) || "");
    const ui = $("ui");
    ui.hidden = !row.ui;
    if (row.ui) ui.href = row.ui;
    text(ui, row.ended ? "Spark history" : "Spark UI");
    const stop = $("stop-it");
    if (stop.hidden === row.mayStop) {
      if (!row.mayStop && document.activeElement === stop) $("main").focus();
      stop.hidden = !row.mayStop;
      stop.removeAttribute("aria-disabled");
    }
  };

  const current = () => {
    const statement = row.statement;
    $("now").hidden = !statement;
    if (!statement) return;
    const waiting = row.waiting ? ` ${row.waiting} more wait.` : "";
    put(
      $("now-what"),
      make("p", {}, `Statement ${statement.id} ${statement.progress === null ? "waits" : "is running"}.${waiting}`),
      make("pre", {}, statement.code),
      statement.progress === null ? null : progress(statement),
      make(
        "ul", { class: "stages" },
        ...statement.stages.map((stage) => {
          const failed = stage.failed ? `, ${stage.failed} failed` : "";
          return make("li", {}, `Stage ${stage.id} ${stage.name}: ${stage.done} of ${stage.tasks} tasks, ${stage.running} running${failed}`);
        }),
      ),
    );
  };

  const failure = (found) => {
    $("failure").hidden = !found;
    if (!found) return;
    const [root, ...led] = found.causes;
    const line = (cause) => make("button", { type: "button", class: "plain", "data-line": cause.line }, `line ${cause.line}`);
    put($("failure-root"), make("strong", {}, root.name), root.message ? `: ${root.message} ` : " ", line(root));
    text($("failure-where"), root.where ? `Raised in ${root.where}` : "");
    put(
      $("failure-led"),
      led.length ? make("p", {}, "It led to:") : null,
      led.length
        ? make("ol", {}, ...led.map((cause) => make("li", {}, make("strong", {}, cause.name), cause.message ? `: ${cause.message} ` : " ", line(cause))))
        : null,
    );
    put($("failure-lines"), found.lines.map((words, index) => `${String(found.from + index).padStart(6)}  ${words}`).join("\n"));
  };

  const outcome = (statement) => {
    if (statement.state === "waiting") return ["waits", "idle"];
    if (statement.state === "running" || statement.state === "cancelling") return [statement.state, "busy"];
    if (statement.state === "cancelled") return ["cancelled", "dead state-calm"];
    return statement.failed ? ["failed", "dead"] : ["ok", "success"];
  };

  const statements = (list) => {
    const left = row.statements - list.length;
    text($("statements-lead"), row.statements === 0 ? "None yet." : left > 0 ? `The last ${list.length} of ${row.statements}.` : "");
    put(
      $("statements"),
      ...list.map((statement) => {
        const [words, kind] = outcome(statement);
        const took = statement.completed && statement.started ? ` in ${page.span(statement.completed - statement.started)}` : "";
        return make(
          "li", {},
          make("p", {}, make("strong", {}, `${statement.id}`), ` ${statement.kind} `, make("span", { class: `state state-${kind}` }, words), took),
          make(
            "pre", { tabindex: 0, role: "group", "aria-label": `Code of statement ${statement.id}` },
            statement.code + (statement.cut ? "\n…" : ""),
          ),
          statement.causes.length ? make("p", { class: "root" }, statement.causes[0]) : null,
          statement.where ? make("p", { class: "small" }, `Raised in ${statement.where}`) : null,
        );
      }),
    );
  };

  const memory = () => {
    const limit = row.memoryLimit ? size(row.memoryLimit) : null;
    if (row.memory !== null) return size(row.memory) + (limit ? ` of ${limit}` : "");
    return limit ? `up to ${limit} (what is used is not measured)` : null;
  };

  const close = listen(() => `sessions/${id}/events`, {
    session: (news) => {
      clock(news.now);
      const before = row;
      row = news.session;
      head();
      facts();
      current();
      failure(news.exception);
      statements(news.statements);
      if (before && before.state !== row.state) announce(`The session is ${page.stateWords(row.state)}.`);
    },
    pods: podsView.show,
    end: () => close(),
  });

  window.setInterval(() => row && facts(), 1000);
  $("stop-it").addEventListener("click", () => page.stop(row, $("stop-it")));
})();
