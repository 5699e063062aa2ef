// Says in JupyterLab (and in Notebook) that this notebook server will be stopped soon, and keeps it at a click.
//
// This file is loaded as it is: what JupyterLab wants of an extension is an object with `init` and `get`, and this one
// needs no module of JupyterLab's. It asks the server rarely (once when the page opens, then when a warning is due),
// because some proxies take every request for use; a tab that is shown again asks at once, as timers sleep with a laptop.
(() => {
  "use strict";
  const SHORTEST = 1, LONGEST = 6 * 3600, AGAIN = 30, AFTER_FAILURE = 60;

  const settings = () => JSON.parse(document.getElementById("jupyter-config-data").textContent);

  const cookie = (name) => {
    const found = document.cookie.match(new RegExp("(?:^|; )" + name + "=([^;]*)"));
    return found ? decodeURIComponent(found[1]) : "";
  };

  const ask = async (method) => {
    const address = new URL(settings().baseUrl + "sparkyard/idle", location.href);
    const answer = await fetch(address, {
      method, credentials: "same-origin", cache: "no-store", headers: {"X-XSRFToken": cookie("_xsrf")},
    });
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    return answer.json();
  };

  const clock = (seconds) =>
    new Date(Date.now() + seconds * 1000).toLocaleTimeString([], {hour: "2-digit", minute: "2-digit"});

  const span = (seconds) => {
    const minutes = Math.round(seconds / 60);
    if (minutes < 1) return `${seconds} seconds`;
    if (minutes < 120) return minutes === 1 ? "a minute" : `${minutes} minutes`;
    return `${Math.round(minutes / 60)} hours`;
  };

  class Banner {
    constructor(keep) {
      this.keep = keep;
      this.box = null;
      this.title = "";
    }

    show(state) {
      if (!this.box) this.make();
      const reason = state.why === "age"
        ? "It has run for as long as servers may, and can't be kept: save your work, and start it anew afterwards."
        : `Nobody has used it for a while, and servers that stay unused for ${span(state.idle)} are stopped. Your files stay.`;
      this.say(`This server will be stopped at ${clock(state.ends_in)}. ${reason}`);
      this.button.hidden = state.why === "age";
      if (!document.title.startsWith("Stops soon")) {
        this.title = document.title;
        document.title = `Stops soon: ${this.title}`;
      }
    }

    say(text) {
      if (this.text.textContent !== text) this.text.textContent = text;  // or it would be read aloud again
    }

    hide() {
      if (!this.box) return;
      this.box.remove();
      this.box = null;
      if (document.title.startsWith("Stops soon")) document.title = this.title;
    }

    make() {
      this.box = document.createElement("div");
      this.box.id = "sparkyard-idle-warning";
      this.box.setAttribute("role", "alert");
      Object.assign(this.box.style, {
        position: "fixed", left: "50%", bottom: "3rem", transform: "translateX(-50%)", zIndex: "10000", display: "flex",
        gap: "1rem", alignItems: "center", maxWidth: "min(44rem, 92vw)", padding: "0.8rem 1rem", borderRadius: "4px",
        boxShadow: "0 2px 12px rgba(0, 0, 0, 0.4)", border: "1px solid var(--jp-warn-color0, #8a5000)",
        background: "var(--jp-layout-color1, #fff)", color: "var(--jp-ui-font-color0, #000)",
        font: "var(--jp-ui-font-size1, 13px)/1.5 var(--jp-ui-font-family, sans-serif)",
      });
      this.text = document.createElement("span");
      this.button = document.createElement("button");
      this.button.className = "jp-mod-styled jp-mod-accept";
      this.button.textContent = "Keep it running";
      this.button.style.whiteSpace = "nowrap";
      this.button.onclick = this.keep;
      this.box.append(this.text, this.button);
      document.body.append(this.box);
    }
  }

  const start = () => {
    let timer = 0, asked = 0;

    const plan = (seconds) => {
      clearTimeout(timer);
      timer = setTimeout(look, Math.min(LONGEST, Math.max(SHORTEST, seconds)) * 1000);
    };

    const take = (state) => {
      if (state.ends_in === null) {
        banner.hide();  // nothing stops servers here, and that changes with the next server
        return;
      }
      const left = state.ends_in - state.warning;
      if (left > 0) banner.hide(); else banner.show(state);
      plan(left > 0 ? left : Math.min(AGAIN, Math.max(2, state.ends_in / 4)));
    };

    const look = async (method = "GET") => {
      asked = Date.now();
      try {
        take(await ask(method));
      } catch (error) {
        // A server that was stopped already is JupyterLab's to speak of.
        console.warn(`Sparkyard: when this server stops is not known: ${error.message}`);
        if (method === "POST") banner.say("The server could not be reached to keep it running. Try again.");
        plan(AFTER_FAILURE);
      }
    };

    const banner = new Banner(() => look("POST"));
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && timer && Date.now() - asked > AGAIN * 1000) look();
    });
    look();
  };

  const plugin = {id: "@sparkyard/idle-warning:plugin", autoStart: true, activate: start};
  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB["@sparkyard/idle-warning"] = {
    init: async () => {},
    get: async () => () => ({__esModule: true, default: plugin}),
  };
})();
