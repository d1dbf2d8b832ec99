/* Light or dark: the system's choice until the switch is used, then the reader's, which is remembered.
   Loaded before the page is drawn, so that it does not flash; no module for that reason. */

(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const stored = () => {
    try {
      return localStorage.getItem("theme");
    } catch {
      return null; // storage is forbidden: the choice lasts as long as the page
    }
  };
  const current = () => root.dataset.theme ?? (system.matches ? "dark" : "light");
  if (stored()) root.dataset.theme = stored();

  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const label = () => (button.textContent = current() === "dark" ? "Light theme" : "Dark theme");
    button.addEventListener("click", () => {
      root.dataset.theme = current() === "dark" ? "light" : "dark";
      try {
        localStorage.setItem("theme", root.dataset.theme);
      } catch {
        // as above
      }
      label();
    });
    system.addEventListener("change", label);
    label();
  });
})();
