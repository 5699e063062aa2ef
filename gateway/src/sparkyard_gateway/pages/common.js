// What both pages share: making elements of texts, telling times and sizes, listening to the gateway, stopping a session.
"use strict";

const page = (() => {
  const root = document.body.dataset.root;
  const $ = (id) => document.getElementById(id);

  // Texts become text nodes here and nowhere else; nothing of a user's is ever read as markup.
  const make = (name, attributes = {}, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (key === "class") element.className = value;
      else element.setAttribute(key, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  };

  // Children are replaced only where they changed, so that the focus and a selection stay.
  const put = (element, ...children) => {
    const next = make("div", {}, ...children);
    if (sameChildren(element, next)) return;
    element.replaceChildren(...next.childNodes);
  };

  const sameChildren = (one, other) =>
    one.childNodes.length === other.childNodes.length &&
    [...one.childNodes].every((child, index) => child.isEqualNode(other.childNodes[index]));

  const text = (element, words) => {
    if (element.textContent !== words) element.textContent = words;
  };

  // The gateway's clock, as this machine's may be wrong.
  let ahead = 0;
  const clock = (now) => {
    ahead = now - Date.now();
  };

  const span = (ms) => {
    const seconds = Math.max(0, Math.round(ms / 1000));
    if (seconds < 1) return "under 1 s";
    if (seconds < 60) return `${seconds} s`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
    if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
    return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
  };

  const since = (ms) => span(Date.now() + ahead - ms);

  const when = (ms) => new Date(ms).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });

  const size = (bytes) => {
    if (bytes === null || bytes === undefined) return "–";
    const mebi = bytes / 1048576;
    return mebi < 1024 ? `${Math.round(mebi)} MiB` : `${(mebi / 1024).toFixed(1)} GiB`;
  };

  const WORDS = {
    starting: "starting", idle: "idle", busy: "busy", shutting_down: "stopping", error: "failed", dead: "dead",
    killed: "killed", success: "ended",
  };
  const stateClass = (row) => `state state-${row.state}${row.state === "dead" && !row.reason ? " state-calm" : ""}`;
  const stateWords = (state) => WORDS[state] || state;

  const label = (row) => (row.name ? `${row.id} · ${row.name}` : `${row.id}`);

  const firstLine = (code) => {
    const lines = code.split("\n").map((line) => line.trim()).filter(Boolean);
    return lines.find((line) => !/^(#|import |from )/.test(line)) || lines[0] || "";
  };

  // A statement without Spark jobs has no progress that anybody could tell.
  const progress = (statement) => {
    if (!statement.progress) return make("span", { class: "small" }, "runs");
    const percent = Math.round(100 * statement.progress);
    const bar = make("progress", { max: 100, value: percent, "aria-label": `Progress of statement ${statement.id}` });
    return make("span", { class: "progress" }, bar, make("span", {}, `${percent} %`));
  };

  const announce = (words) => text($("announcements"), words);

  const trouble = (words) => {
    const place = $("trouble");
    text(place, words || "");
    place.hidden = !words;
  };

  // Events, as long as somebody looks: a page in the background lets its connection go, and a browser has few.
  const listen = (path, handlers) => {
    let source = null;
    let lost = null;
    let over = false;
    const close = () => {
      if (source) source.close();
      source = null;
    };
    const open = () => {
      if (source || over || document.hidden) return;
      source = new EventSource(root + path());
      source.onopen = () => {
        window.clearTimeout(lost);
        trouble("");
      };
      source.onerror = () => {
        window.clearTimeout(lost);
        lost = window.setTimeout(() => trouble("The gateway does not answer. This page goes on by itself when it does."), 4000);
        if (source && source.readyState === EventSource.CLOSED) {
          // It said no: the login is over, or what was shown is gone. The page itself knows how to go on.
          close();
          window.setTimeout(() => check(open), 2000);
        }
      };
      for (const [name, handler] of Object.entries(handlers)) {
        source.addEventListener(name, (event) => handler(JSON.parse(event.data), event));
      }
      source.addEventListener("login", () => window.location.reload());
    };
    document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
    window.addEventListener("pagehide", close);
    window.addEventListener("pageshow", open);
    open();
    return () => {
      over = true;
      window.clearTimeout(lost);
      close();
    };
  };

  const check = async (open) => {
    try {
      const answer = await fetch(`${root}self`);
      if (answer.status === 401 || answer.status === 403) window.location.reload();
      else open();
    } catch {
      window.setTimeout(() => check(open), 4000);
    }
  };

  const read = async (path) => {
    const answer = await fetch(root + path);
    if (answer.status === 401) window.location.reload();
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    return answer.json();
  };

  const stop = (row, from) => {
    if (from.hasAttribute("aria-disabled")) return;
    const dialog = $("stop");
    const whose = row.mine ? "" : ` of ${row.owner}`;
    text($("stop-title"), `Stop session ${label(row)}${whose}?`);
    text(
      $("stop-text"),
      row.statement
        ? "Its statement is running and will be cut off. What it holds in memory is lost; its log is kept."
        : "What it holds in memory is lost; its log is kept.",
    );
    dialog.returnValue = "";
    dialog.onclose = async () => {
      from.focus();
      if (dialog.returnValue !== "stop") return;
      // Not disabled, which would lose the focus of who is at the keyboard.
      from.setAttribute("aria-disabled", "true");
      try {
        const answer = await fetch(`${root}sessions/${row.id}/stop`, {
          method: "POST",
          headers: { "Sparkyard-Token": document.body.dataset.token },
        });
        if (answer.status === 401 || answer.status === 403) window.location.reload();
        else if (!answer.ok) throw new Error();
        else announce(`Session ${row.id} is stopping.`);
      } catch {
        from.removeAttribute("aria-disabled");
        trouble(`Session ${row.id} could not be stopped: the gateway does not answer. Try again.`);
      }
    };
    dialog.showModal();
  };

  return {
    $, announce, check, clock, firstLine, label, listen, make, progress, put, read, root, since, size, span, stateClass,
    stateWords, stop, text, trouble, when,
  };
})();
