// The log of a session's driver, or of an executor: its end, whatever is added, and the lines that hold a text.
"use strict";

const logView = (() => {
  const { $, listen, make, put, read, text } = page;
  const id = document.body.dataset.session;
  const TAIL = 200_000; // bytes to begin with
  const MOST = 1_000_000; // characters that are held
  const AROUND = 40; // lines before a line that is jumped to
  const view = $("log");
  let position = null;
  let whose = ""; // what stands before "log" in the path: nothing for the driver
  let shut = () => {};
  let from = null;

  const atEnd = () => view.scrollHeight - view.scrollTop - view.clientHeight < 30;

  const add = (news, event) => {
    let words = news.text;
    if (position === null && news.from > 0) {
      // The first line is the rest of one.
      words = words.slice(words.indexOf("\n") + 1);
      text($("log-lead"), "Its end. The whole log is in the download, and is searched by Find.");
    } else if (position !== null && news.from > position) {
      words = `\n[${news.from - position} bytes were dropped here]\n${words}`;
    }
    position = Number(event.lastEventId);
    const follow = $("follow").checked && atEnd();
    view.append(words);
    view.normalize();
    const node = view.firstChild;
    if (node && node.length > MOST) {
      node.deleteData(0, node.length - MOST / 2);
      text($("log-lead"), "Its end. The whole log is in the download, and is searched by Find.");
    }
    if (follow) view.scrollTop = view.scrollHeight;
  };

  const open = () => {
    const path = `sessions/${id}/${whose}log/events`;
    const close = listen(() => `${path}?${position === null ? `tail=${TAIL}` : `from=${position}`}`, {
      log: add,
      end: () => {
        close();
        if (!view.firstChild) text($("log-lead"), "Nothing was written to it.");
        document.querySelector(".follow").hidden = true;
      },
    });
    shut = close;
  };

  // Another log in the same place: `path` stands before "log", `name` is whose it is, `back` what had been pressed.
  const of = (path, name, back) => {
    if (path !== whose) {
      shut();
      [whose, position] = [path, null];
      view.replaceChildren();
      text($("log-lead"), "");
      $("found").hidden = true;
      $("whole").href = `${page.root}sessions/${id}/${whose}log/text`;
      document.querySelector(".follow").hidden = false;
      $("follow").checked = true;
      text($("log-title"), name ? `Log of ${name}` : "Log");
      $("log-of").hidden = !name;
      open();
    }
    from = back || from;
    const target = name || !from || !from.isConnected ? $("log-title") : from;
    target.focus();
    target.scrollIntoView({ block: "start" });
  };

  const numbered = (numbers, lines, mark) =>
    lines.map((line, index) => {
      const number = numbers[index];
      const go = make("button", { type: "button", class: "plain", "data-line": number, "aria-label": `Line ${number}, show what stands around it` }, String(number));
      return make("li", { class: number === mark ? "marked" : null }, go, make("span", {}, line));
    });

  const result = (lead, items) => {
    put($("found-lines"), ...items);
    text($("found-lead"), lead);
    $("found").hidden = false;
  };

  const find = async (words) => {
    try {
      const found = await read(`sessions/${id}/${whose}log?size=500&search=${encodeURIComponent(words)}`);
      const some = found.total > found.log.length ? `, the first ${found.log.length} of them` : "";
      result(`${found.total} ${found.total === 1 ? "line holds" : "lines hold"} “${words}”${some}.`, numbered(found.numbers, found.log));
    } catch {
      result("The log cannot be searched just now. Try again.", []);
    }
  };

  const around = async (number) => {
    const first = Math.max(0, number - AROUND);
    try {
      const part = await read(`sessions/${id}/${whose}log?from=${first}&size=${3 * AROUND}`);
      result(`Lines ${first} to ${first + part.log.length - 1} of ${part.total}.`, numbered(part.log.map((_, index) => first + index), part.log, number));
      $("found-lead").focus();
      document.querySelector("#found-lines .marked")?.scrollIntoView({ block: "center" });
    } catch {
      result("The log cannot be read just now. Try again.", []);
    }
  };

  $("search").addEventListener("submit", (event) => {
    event.preventDefault();
    const words = $("text").value;
    if (words) find(words);
  });
  $("found-close").addEventListener("click", () => {
    $("found").hidden = true;
    $("text").focus();
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-line]");
    if (!button) return;
    // The exception at the top stands in the driver's log.
    if (button.closest("#failure") && whose) of("", "", button);
    around(Number(button.dataset.line));
  });
  $("log-driver").addEventListener("click", () => of("", "", null));

  open();
  return { around, of };
})();
