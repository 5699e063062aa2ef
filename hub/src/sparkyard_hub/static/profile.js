// What makes the profile page nicer than its plain form: the page works without any of this.
"use strict";

(() => {
  const form = document.getElementById("spawn_form");
  if (!form) return;
  const note = document.getElementById("sy-bar-note");
  const button = form.querySelector(".sy-start");
  const cards = [...form.querySelectorAll(".sy-card")];

  // Say beside the button what it will start, and leave out of the form what belongs to the other profiles.
  const follow = () => {
    for (const card of cards) {
      const chosen = card.querySelector(".sy-pick").checked;
      for (const section of card.querySelectorAll(".sy-section")) section.disabled = !chosen;
      if (chosen) note.textContent = card.querySelector(".sy-title").textContent;
    }
  };
  form.addEventListener("change", follow);
  follow();

  // A click anywhere on a card picks it, except on what has a click of its own.
  for (const card of cards) {
    card.addEventListener("click", (event) => {
      if (event.target.closest("a, button, input, label, select, summary, .sy-options")) return;
      if (window.getSelection().toString()) return;
      const pick = card.querySelector(".sy-pick");
      pick.checked = true;
      pick.focus();
      follow();
    });
  }

  // One start at a time; and a page taken from the browser's memory can start again.
  form.addEventListener("submit", () => {
    button.disabled = true;
    button.textContent = "Starting…";
  });
  window.addEventListener("pageshow", () => {
    button.disabled = false;
    button.textContent = "Start";
    follow();
  });

  // After a refusal, begin at the field it is about.
  const wrong = form.querySelector("[aria-invalid]") || document.getElementById("sy-refusal");
  if (wrong) wrong.focus();
})();
