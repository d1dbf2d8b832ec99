/* The theme: the system's until the user switches it; the choice is stored.
   Not a module, so that it runs before the page is drawn and the page does not flash. */

(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const stored = () => {
    try {
      return localStorage.getItem("theme");
    } catch {
      return null; // storage is forbidden: the choice lasts until the page is closed
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
        // storage is forbidden
      }
      label();
    });
    system.addEventListener("change", label);
    label();
  });
})();
