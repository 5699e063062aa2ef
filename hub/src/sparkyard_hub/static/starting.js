// The page of a starting server: turns the hub's progress events into a list of steps.
"use strict";

(() => {
  const page = document.getElementById("sy-starting");
  const bar = document.getElementById("sy-progress");
  const steps = document.getElementById("sy-steps");
  const now = document.getElementById("sy-now");
  const failure = document.getElementById("sy-failure");
  const cancel = document.getElementById("sy-cancel");
  let current = null;
  let cancelled = false;

  const step = (phase) => {
    if (current) {
      current.removeAttribute("aria-current");
      current.querySelector(".sy-mark").textContent = "✓";
    }
    current = document.createElement("li");
    current.dataset.phase = phase;
    current.setAttribute("aria-current", "step");
    current.innerHTML = '<span class="sy-mark" aria-hidden="true">·</span><span class="sy-words"></span>';
    steps.append(current);
    now.textContent = phase; // read aloud once a step, not once a second
  };

  const progress = (percent) => {
    bar.setAttribute("aria-valuenow", percent);
    bar.firstElementChild.style.width = `${percent}%`;
  };

  const failed = (event) => {
    document.getElementById("sy-starting-title").textContent = "Your server did not start";
    document.getElementById("sy-starting-lead").hidden = true;
    bar.classList.add("sy-progress-failed");
    if (current) {
      current.removeAttribute("aria-current");
      current.querySelector(".sy-mark").textContent = "✗";
    }
    // The hub's own HTML, in which the spawner has escaped what the server wrote.
    if (event.html_message) failure.innerHTML = event.html_message;
    else failure.textContent = event.message;
    failure.hidden = false;
    document.getElementById("sy-again").hidden = false;
    cancel.hidden = true;
    failure.focus();
  };

  const source = new EventSource(page.dataset.progressUrl);

  cancel.hidden = false;
  cancel.addEventListener("click", async () => {
    cancel.disabled = cancelled = true;
    cancel.textContent = "Cancelling…";
    source.close();
    await fetch(page.dataset.serverUrl, { method: "DELETE" });
    window.location.assign(page.dataset.profilesUrl);
  });

  source.onmessage = (message) => {
    if (cancelled) return;
    const event = JSON.parse(message.data);
    if (event.progress !== undefined) progress(event.progress);
    if (event.ready) {
      source.close();
      if (current) current.querySelector(".sy-mark").textContent = "✓";
      window.location.reload(); // the hub then leads to where the person wanted to go
    } else if (event.failed) {
      source.close();
      failed(event);
    } else if (event.message) {
      const phase = event.phase || event.message;
      if (!current || current.dataset.phase !== phase) step(phase);
      current.querySelector(".sy-words").textContent = event.message;
    }
  };
  source.onerror = () => {
    // The browser itself connects again unless the hub has said no: then the start is over, and the page knows how.
    if (source.readyState === EventSource.CLOSED) window.setTimeout(() => window.location.reload(), 2000);
  };
})();
