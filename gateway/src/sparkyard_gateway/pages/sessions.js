// The list: a row a session, kept in step with the gateway.
"use strict";

(() => {
  const { $, announce, clock, firstLine, label, listen, make, progress, put, read, root, since, size, stateClass } = page;
  const known = new Map(); // id -> {row, line, cells}
  let whose = "all";

  const HEADS = ["Session", "State", "Profile", "Age", "Memory", "Now", ""];

  const line = (row) => {
    const cells = HEADS.map((head) =>
      head === "Session"
        ? make("th", { scope: "row", role: "rowheader" })
        : make("td", { role: "cell", "data-head": head, class: head === "" ? "actions" : null }),
    );
    const element = make("tr", { role: "row" }, ...cells);
    return { row, element, cells };
  };

  const now = (row) => {
    if (row.statement) {
      const waits = row.waiting ? make("span", { class: "small" }, `${row.waiting} more waiting`) : null;
      return [
        make("code", {}, firstLine(row.statement.code)),
        row.statement.progress === null ? make("span", { class: "small" }, "waits") : progress(row.statement),
        waits,
      ];
    }
    const words = row.state === "starting" ? row.phase : row.ended || row.state === "shutting_down" ? row.reason : null;
    return words ? [make("span", { class: "small clamp" }, words)] : [make("span", { class: "small" }, "–")];
  };

  const images = (row) => {
    const both = row.driverImage === row.executorImage || !row.executorImage;
    return both ? row.driverImage || "" : `${row.driverImage}, executors ${row.executorImage}`;
  };

  const show = (entry) => {
    const { row, cells } = entry;
    const others = [...known.values()].some((each) => !each.row.mine);
    put(
      cells[0],
      make("a", { href: `${root}sessions/${row.id}` }, label(row)),
      others ? make("span", { class: "small" }, row.owner + (row.team ? ` (${row.team})` : "")) : null,
    );
    put(cells[1], make("span", { class: stateClass(row) }, page.stateWords(row.state)));
    put(cells[2], make("span", {}, row.profile), make("span", { class: "small" }, images(row)));
    age(entry);
    put(
      cells[4],
      row.memory === null && row.memoryLimit ? `≤ ${size(row.memoryLimit)}` : size(row.memory),
      row.memory !== null && row.memoryLimit ? make("span", { class: "small" }, `of ${size(row.memoryLimit)}`) : null,
    );
    put(cells[5], ...now(row));
    actions(entry);
    entry.element.hidden = whose === "mine" && !row.mine;
  };

  const age = ({ row, cells }) => put(cells[3], row.ended ? page.span(row.ended - row.created) : since(row.created));

  const actions = (entry) => {
    const { row, cells } = entry;
    const name = `session ${label(row)}`;
    let [ui, stop] = [cells[6].querySelector("a"), cells[6].querySelector("button")];
    if (row.ui && !ui) {
      ui = make("a", { class: "button small", href: row.ui, target: "_blank", rel: "noopener" });
      cells[6].prepend(ui);
    }
    if (ui) {
      const words = row.ended ? "Spark history" : "Spark UI";
      page.text(ui, words);
      ui.setAttribute("aria-label", `${words} of ${name}`);
    }
    if (row.mayStop && !stop) {
      stop = make("button", { type: "button", class: "button small danger", "aria-label": `Stop ${name}` }, "Stop");
      stop.addEventListener("click", () => page.stop(entry.row, stop));
      cells[6].append(stop);
    }
    if (!row.mayStop && stop) {
      // Who stopped it by keyboard goes on from the session's name, not from the top of the page.
      if (document.activeElement === stop) cells[0].querySelector("a").focus();
      stop.remove();
    }
  };

  const tell = (before, row) => {
    if (before && before.state !== row.state && row.state !== "busy" && row.state !== "idle") {
      const why = row.reason ? `: ${row.reason}` : ".";
      announce(`Session ${label(row)} is ${page.stateWords(row.state)}${why}`);
    } else if (before && before.state === "starting" && row.state === "idle") announce(`Session ${label(row)} is ready.`);
  };

  const arrange = () => {
    const rows = $("rows");
    const order = [...known.values()].sort(
      (one, other) => Boolean(one.row.ended) - Boolean(other.row.ended) || other.row.id - one.row.id,
    );
    order.forEach((entry, index) => {
      if (rows.children[index] !== entry.element) rows.insertBefore(entry.element, rows.children[index] || null);
    });
    const shown = order.filter((entry) => !entry.element.hidden).length;
    const mine = order.filter((entry) => entry.row.mine).length;
    $("sessions").hidden = shown === 0;
    $("none").hidden = shown !== 0;
    $("whose").hidden = mine === order.length;
    page.text($("all"), `All that you may see (${order.length})`);
    page.text($("mine"), `Mine (${mine})`);
  };

  listen(() => "events", {
    sessions: (news) => {
      clock(news.now);
      if (news.first) {
        const there = new Set(news.changed.map((row) => row.id));
        news.gone = [...known.keys()].filter((id) => !there.has(id));
      }
      for (const id of news.gone) {
        known.get(id)?.element.remove();
        known.delete(id);
      }
      for (const row of news.changed) {
        const entry = known.get(row.id) || line(row);
        tell(known.has(row.id) ? entry.row : null, row);
        entry.row = row;
        known.set(row.id, entry);
      }
      for (const entry of known.values()) show(entry);
      arrange();
    },
  });

  window.setInterval(() => {
    for (const entry of known.values()) age(entry);
  }, 1000);

  $("whose").addEventListener("change", (event) => {
    whose = event.target.value;
    for (const entry of known.values()) show(entry);
    arrange();
  });

  $("past").addEventListener("toggle", async () => {
    if (!$("past").open) return;
    try {
      const { records, days } = await read("past");
      page.text(
        $("past-lead"),
        records.length ? `Logs are kept for ${days} after a session's end.` : `None in the last ${days}.`,
      );
      put(
        $("past-list"),
        ...records.map((row) =>
          make(
            "li", {},
            make("a", { href: `${root}sessions/${row.id}` }, label(row)),
            make("span", { class: "small" }, `${row.mine ? "" : `${row.owner}, `}${row.profile}, ended ${page.when(row.ended)}`),
            row.reason ? make("span", { class: "small" }, row.reason) : null,
          ),
        ),
      );
    } catch {
      page.text($("past-lead"), "They cannot be read just now. Close this and open it again.");
    }
  });
})();
