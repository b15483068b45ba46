// Reads values off the charts. Everything else on the page works without it.
"use strict";

const warps = {
  linear: [(v) => v, (w) => w],
  log: [Math.log10, (w) => 10 ** w],
  nines: [(v) => -Math.log10(1 - v), (w) => 1 - 10 ** -w],
};

function text(unit, value) {
  if (unit === "share") return `${(100 * value).toPrecision(4)} %`;
  if (unit === "count") return Math.round(value).toLocaleString("en");
  const size = Math.abs(value);
  if (size < 0.9995) return `${(1000 * value).toPrecision(3)} ms`;
  if (size < 120) return `${value.toPrecision(3)} s`;
  return size < 7200 ? `${(value / 60).toPrecision(3)} min` : `${(value / 3600).toPrecision(3)} h`;
}

function valueAt(series, x) {
  let low = 0, high = series.x.length - 1;
  if (x < series.x[0]) return series.step ? 0 : null;
  if (x > series.x[high]) return series.step ? series.y[high] : null;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (series.x[middle] <= x) low = middle; else high = middle - 1;
  }
  const next = Math.min(low + 1, series.x.length - 1);
  const isNearer = !series.step && series.x[next] - x < x - series.x[low];
  return series.y[isNearer ? next : low];
}

for (const figure of document.querySelectorAll("figure.plot")) {
  const data = JSON.parse(figure.querySelector("script").textContent);
  const slider = figure.querySelector("input[type=range]");
  const output = figure.querySelector("output");
  const drawings = [...figure.querySelectorAll("svg.drawing")];

  function shown() {
    return drawings.find((svg) => getComputedStyle(svg).display !== "none");
  }

  function update() {
    const svg = shown();
    if (!svg) return;
    const { kind, low, high, left, right } = svg.dataset;
    const [warp, unwarp] = warps[kind];
    const share = slider.value / slider.max;
    const x = unwarp(warp(+low) + share * (warp(+high) - warp(+low)));
    const at = text(data.x, x);
    const hidden = new Set(
      [...figure.querySelectorAll("input[data-arm]:not(:checked)")].map((box) => +box.dataset.arm));
    const parts = data.series.filter((s) => !hidden.has(s.arm)).map((s) => {
      const y = valueAt(s, x);
      return `${s.name}: ${y === null ? "–" : text(data.y, y)}`;
    });
    output.textContent = `at ${at}: ${parts.join("; ")}`;
    slider.setAttribute("aria-valuetext", output.textContent);
    for (const drawing of drawings) {
      const cursor = drawing.querySelector(".cursor");
      const place = +drawing.dataset.left + share * (drawing.dataset.right - drawing.dataset.left);
      cursor.setAttribute("x1", place);
      cursor.setAttribute("x2", place);
      cursor.classList.add("on");
    }
  }

  slider.addEventListener("input", update);
  figure.addEventListener("change", update);
  for (const svg of drawings) {
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const place = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
      const { left, right } = svg.dataset;
      slider.value = Math.round(slider.max * Math.min(1, Math.max(0, (place - left) / (right - left))));
      update();
    });
  }
}
document.documentElement.classList.add("scripted");
