// Shows the values under the pointer. Everything else on the page works without it.
"use strict";
(() => {
  const namespace = document.querySelector("svg")?.namespaceURI;
  const draw = (svg, name, attributes) => {
    const element = document.createElementNS(namespace, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    svg.append(element);
    return element;
  };
  const digits = (value) => value < 9.995 ? value.toFixed(2) : value < 99.95 ? value.toFixed(1) : value.toFixed(0);
  const time = (ns) => ns < 999.5 ? `${ns} ns` : ns < 999.5e3 ? `${digits(ns / 1e3)} µs`
    : ns < 999.5e6 ? `${digits(ns / 1e6)} ms` : `${digits(ns / 1e9)} s`;
  const place = (panel, value) => {
    const clamped = Math.min(Math.max(value, panel.low), panel.high);
    const share = panel.log ? Math.log(clamped / panel.low) / Math.log(panel.high / panel.low)
      : (clamped - panel.low) / (panel.high - panel.low);
    return panel.from + share * (panel.to - panel.from);
  };
  const nearest = (xs, x) => {
    let low = 0, high = xs.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (xs[middle] < x) low = middle; else high = middle;
    }
    return x - xs[low] < xs[high] - x ? low : high;
  };

  for (const svg of document.querySelectorAll("svg[data-hover]")) {
    const data = JSON.parse(svg.dataset.hover);
    if (data.x.length === 0) continue;
    const box = svg.parentElement;
    let marks = [], reading = null;
    const clear = () => {
      for (const mark of marks) mark.remove();
      reading?.remove();
      marks = [];
      reading = null;
    };
    svg.addEventListener("pointerleave", clear);
    svg.addEventListener("pointermove", (event) => {
      clear();
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      if (at.x < data.x[0] - 12 || at.x > data.x[data.x.length - 1] + 12) return;
      const index = nearest(data.x, at.x), x = data.x[index];
      marks.push(draw(svg, "line", { class: "cross", x1: x, x2: x, y1: data.top, y2: data.bottom }));
      reading = document.createElement("div");
      reading.className = "reading";
      reading.append(Object.assign(document.createElement("b"), { textContent: data.label[index] }));
      for (const series of data.series) {
        const value = series.values[index];
        if (value === null || (series.panel === null && value === 0)) continue;
        if (series.panel !== null) {
          marks.push(draw(svg, "circle", { class: "spot", cx: x, cy: place(data.panels[series.panel], value), r: 3.5 }));
        }
        const row = document.createElement("span");
        const name = Object.assign(document.createElement("span"), { textContent: series.name });
        const text = series.unit === "ns" ? time(value) : value.toLocaleString("en-US");
        row.append(name, Object.assign(document.createElement("span"), { textContent: text }));
        reading.append(row);
      }
      box.append(reading);
      const frame = box.getBoundingClientRect(), left = event.clientX - frame.left;
      const room = frame.width - left - reading.offsetWidth - 18;
      reading.style.left = `${room > 0 ? left + 16 : left - reading.offsetWidth - 16}px`;
      reading.style.top = `${Math.max(event.clientY - frame.top - reading.offsetHeight - 10, 4)}px`;
    });
  }
})();
