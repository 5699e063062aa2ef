// Dark or light, as the hub's own pages: the same choice, kept under the same name. Loaded first, so that nothing flickers.
"use strict";

(() => {
  const KEY = "jupyterhub-bs-theme";
  const system = window.matchMedia("(prefers-color-scheme: dark)");

  const stored = () => {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null;
    }
  };

  const wanted = () => {
    const theme = stored();
    return theme === "dark" || theme === "light" ? theme : system.matches ? "dark" : "light";
  };

  const show = (theme) => document.documentElement.setAttribute("data-bs-theme", theme);

  show(wanted());
  system.addEventListener("change", () => show(wanted()));
  window.addEventListener("storage", () => show(wanted()));
  window.addEventListener("DOMContentLoaded", () => {
    document.getElementById("theme").addEventListener("click", () => {
      const theme = document.documentElement.getAttribute("data-bs-theme") === "dark" ? "light" : "dark";
      try {
        localStorage.setItem(KEY, theme);
      } catch {
        // It holds for this page, then.
      }
      show(theme);
    });
  });
})();
