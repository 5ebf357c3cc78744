// Draws each [data-figure] element from the JSON beside it, when it is on screen.
"use strict";
(() => {
  const CONFIG = {
    displayModeBar: false, showSendToCloud: false, plotlyServerURL: "", responsive: true,
    doubleClick: "reset",
  };
  const NARROW = 480;
  const probe = document.createElement("span");
  const waiting = new Set();

  // A token such as "--c1" becomes the color that it has in the present theme.
  const resolved = (token) => {
    probe.style.color = `var(${token})`;
    return getComputedStyle(probe).color;
  };
  const colored = (value, key) => {
    if (typeof value === "string") return /color/i.test(key) && value.startsWith("--") ? resolved(value) : value;
    if (Array.isArray(value)) return /color/i.test(key) || typeof value[0] === "object" ? value.map((each) => colored(each, key)) : value;
    if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, colored(each, name)]));
    return value;
  };

  const draw = (plot) => {
    const source = document.getElementById(plot.dataset.figure);
    if (!source) return;
    const figure = colored(JSON.parse(source.textContent), "");
    const axis = figure.layout.xaxis;
    if (axis?.nticks && plot.clientWidth < NARROW) axis.nticks = 5;  // more would stand upright
    plot.setAttribute("aria-label", source.dataset.label);
    Plotly.react(plot, figure.data, figure.layout, CONFIG).then(() => listen(plot));
  };

  const listen = (plot) => {
    if (plot.dataset.listens) return;
    plot.dataset.listens = "yes";
    plot.on("plotly_click", ({ points: [point] }) => {
      const { link: own, links = [] } = point.data.meta || {};
      const link = own || links[point.pointNumber ?? point.i];
      if (link) htmx.ajax("GET", link.replaceAll("DAY", point.x), { target: "#filters", swap: "outerHTML" });
    });
  };

  const observer = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      target.dataset.shown = isIntersecting ? "yes" : "";
      if (isIntersecting && waiting.delete(target)) requestAnimationFrame(() => draw(target));
    }
  }, { rootMargin: "200px" });

  const refresh = (root) => {
    for (const plot of root.querySelectorAll("[data-figure]")) {
      if (!plot.dataset.observed) {
        plot.dataset.observed = "yes";
        observer.observe(plot);
      }
      if (plot.dataset.shown) requestAnimationFrame(() => draw(plot));
      else waiting.add(plot);
    }
  };

  document.head.append(probe);
  document.addEventListener("htmx:afterSettle", () => refresh(document.getElementById("main")));
  document.addEventListener("footfall:theme", () => refresh(document));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => refresh(document));
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-do=png]");
    if (button) Plotly.downloadImage(document.getElementById(button.dataset.plot), { format: "png", scale: 2, filename: button.dataset.name || "footfall" });
  });
  document.addEventListener("DOMContentLoaded", () => refresh(document));
})();
