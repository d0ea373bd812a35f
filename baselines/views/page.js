// Draws the figures of a page in the colours of page.css, again where the reader changes to light, dark or paper.
(function () {
  "use strict";
  const PAPER_WIDTH = 660;
  const CONFIG = {
    displayModeBar: false, displaylogo: false, scrollZoom: false, doubleClick: false,
    typesetMath: false, plotlyServerURL: "", topojsonURL: "",
  };
  const root = document.documentElement;
  const NARROW_BELOW = Number(root.dataset.narrowBelow);
  const figures = Array.from(document.querySelectorAll("script[data-plot]"), (source) => ({
    element: document.getElementById(source.dataset.plot), source: JSON.parse(source.textContent), width: 0,
  }));

  // A deep copy in which var(--name) is the colour of that name.
  function coloured(value, style) {
    if (typeof value === "string") {
      const name = /^var\((--[a-z0-9-]+)\)$/.exec(value);
      return name ? style.getPropertyValue(name[1]).trim() : value;
    }
    if (Array.isArray(value)) return value.map((item) => coloured(item, style));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, coloured(item, style)]));
  }

  function draw(figure, width) {
    figure.width = width || figure.element.clientWidth;
    const narrow = figure.width < NARROW_BELOW ? figure.source.narrow : {};
    const layout = Object.assign({}, figure.source.layout, narrow, { width: figure.width });
    const drawn = coloured({ data: figure.source.data, layout: layout }, getComputedStyle(root));
    figure.element.style.minHeight = layout.height + "px";
    window.Plotly.react(figure.element, drawn.data, drawn.layout, CONFIG);
  }

  const drawAll = () => figures.forEach((figure) => draw(figure));
  drawAll();
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  const resized = new ResizeObserver(() => {
    if (!root.dataset.theme) figures.filter((figure) => figure.element.clientWidth !== figure.width).forEach((figure) => draw(figure));
  });
  figures.forEach((figure) => resized.observe(figure.element));
  window.addEventListener("beforeprint", () => {
    root.dataset.theme = "light";
    figures.forEach((figure) => draw(figure, PAPER_WIDTH));
  });
  window.addEventListener("afterprint", () => {
    delete root.dataset.theme;
    drawAll();
  });

  // A button to copy a command with, where the browser lets a page copy.
  if (navigator.clipboard) document.querySelectorAll("div.code").forEach((block) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.addEventListener("click", () => {
      navigator.clipboard.writeText(block.querySelector("code").textContent)
        .then(() => { button.textContent = "Copied"; }, () => { button.textContent = "Select and copy it"; });
    });
    block.querySelector("p").append(button);
  });
})();
