// The executors of a session, each with its log, and what happened to its pods.
"use strict";

const podsView = (() => {
  const { $, make, put, size, text } = page;
  const STATES = { waiting: "starting", starting: "starting", running: "busy", ended: "success", failed: "dead" };
  const WORDS = { waiting: "waits", starting: "starts", running: "runs", ended: "ended", failed: "failed" };
  const LOGS = { none: "It never ran.", dropped: "Log not kept", part: " Its end was lost." };

  const time = (executor) => {
    if (!executor.started) return "–";
    return executor.ended ? page.span(executor.ended - executor.started) : page.since(executor.started);
  };

  const log = (executor) => {
    if (executor.log === "none" || executor.log === "dropped" || !executor.started) return make("span", { class: "small" }, LOGS[executor.log] || "–");
    const name = { type: "button", class: "button small", "data-executor": executor.uid, "data-number": executor.number, "aria-label": `Log of executor ${executor.number}` };
    return make("span", {}, make("button", name, "Log"), executor.log === "part" ? make("span", { class: "small" }, LOGS.part) : null);
  };

  const cell = (head, ...children) => make("td", { role: "cell", "data-head": head, class: head ? null : "actions" }, ...children);

  const row = (executor) =>
    make(
      "tr", { role: "row" },
      make("th", { scope: "row", role: "rowheader", title: executor.pod }, executor.number),
      cell(
        "State",
        make("span", {}, make("span", { class: `state state-${STATES[executor.state]}` }, WORDS[executor.state])),
        executor.reason ? make("span", { class: "small" }, executor.reason) : null,
      ),
      cell("Node", executor.node || "–"),
      cell("Ran", time(executor)),
      cell("Memory", executor.memory ? `≤ ${size(executor.memory)}` : "–"),
      cell("", log(executor)),
    );

  const happening = (event) => {
    const often = event.count > 1 ? `${event.count} times, first ${page.when(event.first)}` : "";
    return make(
      "li", { class: event.type === "Warning" ? "warning" : null },
      make("span", { class: "small" }, page.when(event.last)),
      make("span", {}, make("strong", {}, `${event.who[0].toUpperCase()}${event.who.slice(1)}: `), event.words),
      make("span", { class: "small", title: event.pod }, often ? `${event.reason}, ${often}` : event.reason),
    );
  };

  let last = null;

  const show = (pods) => {
    last = pods;
    $("executors").hidden = pods.total === 0;
    const left = pods.total - pods.executors.length;
    const counts = Object.entries(pods.counts).filter(([, count]) => count).map(([state, count]) => `${count} ${state}`);
    text($("executors-lead"), `${counts.join(", ")}.${left > 0 ? ` Shown are ${pods.executors.length}: those that live, that failed, and the newest.` : ""}`);
    put($("executor-rows"), ...pods.executors.map(row));
    $("happened").hidden = pods.events.length === 0;
    const older = pods.eventsTotal - pods.events.length;
    text($("happened-lead"), `The latest first, as Kubernetes tells it.${older > 0 ? ` ${older} earlier are not shown.` : ""}`);
    put($("happened-list"), ...pods.events.map(happening));
  };

  window.setInterval(() => last && put($("executor-rows"), ...last.executors.map(row)), 1000);

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-executor]");
    if (button) logView.of(`executors/${encodeURIComponent(button.dataset.executor)}/`, `executor ${button.dataset.number}`, button);
  });

  return { show };
})();
