"use strict";
// All polygons as one path a colour, in coordinates of the slice: to move and to zoom is to fill the
// same paths under another transformation. While the view moves, the last picture is moved.
const data = JSON.parse(document.getElementById("data").textContent);
function numbers(text, Kind) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new Kind(bytes.buffer);
}
const corners = numbers(data.vertices, Float32Array), offsets = numbers(data.offsets, Uint32Array);
const layers = numbers(data.layers, Int8Array);
const classes = data.classes ? numbers(data.classes, Uint8Array) : null;
const count = offsets.length - 1, [left, right, bottom, top_] = data.window;
const canvas = document.getElementById("plane"), pen = canvas.getContext("2d");
const kept = document.createElement("canvas"), brush = kept.getContext("2d");
const SERIES = ["#3b76c4", "#d4722c", "#3c9a5f", "#a855b5", "#c8493f", "#7a6ff0", "#8a7a2f", "#2f9aa0", "#d0578f", "#6b7688"];
const HUES = 24;
const paths = new Map();
let view, drawn, late = 0;

function polygon(path, cell) {
  const begin = offsets[cell], end = offsets[cell + 1];
  path.moveTo(corners[2 * begin], corners[2 * begin + 1]);
  for (let i = begin + 1; i < end; i++) path.lineTo(corners[2 * i], corners[2 * i + 1]);
  path.closePath();
}
function fills(colour) {
  if (paths.has(colour)) return paths.get(colour);
  const groups = new Map();
  for (let cell = 0; cell < count; cell++) {
    const key = colour === "class" ? SERIES[classes[cell] % SERIES.length]
      : `hsl(${(360 / HUES) * ((cell * 7919) % HUES)} 55% ${60 + 12 * (cell % 3)}%)`;
    if (!groups.has(key)) groups.set(key, new Path2D());
    polygon(groups.get(key), cell);
  }
  paths.set(colour, groups);
  return groups;
}
function edges() {
  if (paths.has("edges")) return paths.get("edges");
  const groups = new Map();
  for (let cell = 0; cell < count; cell++) {
    const begin = offsets[cell], end = offsets[cell + 1];
    for (let i = begin; i < end; i++) {
      if (layers[i] < 0) continue;
      const j = i + 1 < end ? i + 1 : begin;
      // each inner edge stands in two polygons: it is drawn in the one where it goes to the right
      if (corners[2 * j] < corners[2 * i] || (corners[2 * j] === corners[2 * i] && corners[2 * j + 1] < corners[2 * i + 1])) continue;
      if (!groups.has(layers[i])) groups.set(layers[i], new Path2D());
      groups.get(layers[i]).moveTo(corners[2 * i], corners[2 * i + 1]);
      groups.get(layers[i]).lineTo(corners[2 * j], corners[2 * j + 1]);
    }
  }
  paths.set("edges", groups);
  return groups;
}
const choice = () => document.querySelector("input[name=colour]:checked").value;
function render() {
  const began = performance.now(), scale = view.scale, colour = choice();
  brush.setTransform(1, 0, 0, 1, 0, 0);
  brush.clearRect(0, 0, kept.width, kept.height);
  brush.setTransform(scale, 0, 0, -scale, kept.width / 2 - scale * view.x, kept.height / 2 + scale * view.y);
  if (colour !== "layer") for (const [key, path] of fills(colour)) { brush.fillStyle = key; brush.fill(path); }
  if (colour === "layer" || document.getElementById("lines").checked) {
    brush.lineWidth = (colour === "layer" ? 1.2 : 0.5) * (devicePixelRatio || 1) / scale;
    const ink = getComputedStyle(document.body).color;
    for (const [layer, path] of [...edges()].sort((a, b) => b[0] - a[0])) {
      brush.strokeStyle = colour === "layer" ? SERIES[layer % SERIES.length] : ink;
      brush.stroke(path);
    }
  }
  drawn = { ...view };
  document.body.dataset.milliseconds = Math.round(performance.now() - began);
  show();
}
function show() {
  if (!kept.width || !kept.height) return;  // not laid out yet
  const ratio = view.scale / drawn.scale;
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.setTransform(ratio, 0, 0, ratio, canvas.width / 2 * (1 - ratio) + view.scale * (drawn.x - view.x),
    canvas.height / 2 * (1 - ratio) - view.scale * (drawn.y - view.y));
  pen.drawImage(kept, 0, 0);
  pen.setTransform(1, 0, 0, 1, 0, 0);
  axes();
  marks();
}
const css = (name) => getComputedStyle(document.body)[name];
function steps(low, high, room) {
  // the smallest of 1, 2, 5 times a power of ten that leaves room for its labels
  const wanted = (high - low) * room, power = 10 ** Math.floor(Math.log10(wanted));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= wanted), found = [];
  for (let k = Math.ceil(low / step); k * step <= high; k++) found.push(k * step);
  return [found, Math.max(0, -Math.floor(Math.log10(step) + 1e-9))];
}
function axes() {
  const pixel = devicePixelRatio || 1, w = canvas.width, h = canvas.height, size = 12 * pixel;
  const span = { s: w / 2 / view.scale, t: h / 2 / view.scale };
  const said = (value, digits) => digits > 6 || Math.abs(value) >= 1e6 ? value.toExponential(2) : value.toFixed(digits);
  pen.font = `${size}px system-ui, sans-serif`;
  pen.strokeStyle = pen.fillStyle = css("color");
  const halo = css("backgroundColor");
  const label = (text, x, y, align, baseline) => {
    pen.textAlign = align; pen.textBaseline = baseline;
    pen.lineWidth = 3 * pixel; pen.strokeStyle = halo; pen.strokeText(text, x, y);
    pen.strokeStyle = pen.fillStyle; pen.fillText(text, x, y);
  };
  pen.lineWidth = pixel;
  const [across, wide] = steps(view.x - span.s, view.x + span.s, 80 * pixel / w);
  const [up, high] = steps(view.y - span.t, view.y + span.t, 50 * pixel / h);
  for (const s of across) {
    const x = w / 2 + (s - view.x) * view.scale;
    if (x < 50 * pixel || x > w - 30 * pixel) continue;
    pen.fillRect(x - pixel / 2, h - 6 * pixel, pixel, 6 * pixel);
    label(said(s, wide), x, h - 8 * pixel, "center", "bottom");
  }
  for (const t of up) {
    const y = h / 2 - (t - view.y) * view.scale;
    if (y < 20 * pixel || y > h - 26 * pixel) continue;
    pen.fillRect(0, y - pixel / 2, 6 * pixel, pixel);
    label(said(t, high), 9 * pixel, y, "left", "middle");
  }
  label("s", w - 8 * pixel, h - 8 * pixel, "right", "bottom");
  label("t", 9 * pixel, 6 * pixel, "left", "top");
}
function marks() {
  const pixel = devicePixelRatio || 1, halo = css("backgroundColor"), ink = css("color");
  data.marks.forEach(([s, t, away], number) => {
    const x = canvas.width / 2 + (s - view.x) * view.scale, y = canvas.height / 2 - (t - view.y) * view.scale;
    pen.beginPath();
    pen.arc(x, y, 5 * pixel, 0, 2 * Math.PI);
    pen.lineWidth = 4 * pixel; pen.strokeStyle = halo; pen.stroke();
    pen.lineWidth = 2 * pixel; pen.strokeStyle = ink; pen.stroke();
    if (!away) { pen.fillStyle = ink; pen.fill(); }
    const text = `input ${number}`;
    pen.font = `${12 * pixel}px system-ui, sans-serif`; pen.textAlign = "left"; pen.textBaseline = "middle";
    pen.lineWidth = 3 * pixel; pen.strokeStyle = halo; pen.strokeText(text, x + 9 * pixel, y);
    pen.fillStyle = ink; pen.fillText(text, x + 9 * pixel, y);
  });
}
function moved() {
  show();
  clearTimeout(late);
  late = setTimeout(render, 80);
}
function whole() {
  canvas.width = kept.width = canvas.clientWidth * (devicePixelRatio || 1);
  canvas.height = kept.height = canvas.clientHeight * (devicePixelRatio || 1);
  view = { x: (left + right) / 2, y: (bottom + top_) / 2, scale: 0.98 * Math.min(canvas.width / (right - left), canvas.height / (top_ - bottom)) };
  render();
}
function place(event) {
  const ratio = canvas.width / canvas.clientWidth;
  return [view.x + (event.offsetX * ratio - canvas.width / 2) / view.scale, view.y - (event.offsetY * ratio - canvas.height / 2) / view.scale];
}
function inside(cell, x, y) {
  for (let i = offsets[cell], end = offsets[cell + 1], j = end - 1; i < end; j = i++) {
    const a = corners[2 * j], b = corners[2 * j + 1];
    if ((corners[2 * i] - a) * (y - b) - (corners[2 * i + 1] - b) * (x - a) < 0) return false;
  }
  return true;
}
function zoom(factor, x, y) {
  view.scale *= factor;
  view.x = x + (view.x - x) / factor;
  view.y = y + (view.y - y) / factor;
  moved();
}
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoom(Math.exp(-event.deltaY / 400), ...place(event));
}, { passive: false });
canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
canvas.addEventListener("pointermove", (event) => {
  if (event.buttons) {
    const step = canvas.width / canvas.clientWidth / view.scale;
    view.x -= event.movementX * step;
    view.y += event.movementY * step;
    moved();
    return;
  }
  const [x, y] = place(event);
  for (let cell = 0; cell < count; cell++) {
    if (!inside(cell, x, y)) continue;
    const made = new Set(layers.slice(offsets[cell], offsets[cell + 1]));
    const by = [...made].filter((l) => l >= 0).sort().map((l) => data.names[l]);
    document.getElementById("told").textContent = near(x, y) + `Region ${cell}: ${offsets[cell + 1] - offsets[cell]} edges` +
      (by.length ? `, made by ${by.join(", ")}` : "") + (classes ? `, class ${classes[cell]}` : "") +
      ` (s = ${x.toPrecision(4)}, t = ${y.toPrecision(4)})`;
    return;
  }
});
canvas.addEventListener("keydown", (event) => {
  const step = canvas.width / view.scale / 10;
  const keys = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
  if (event.key in keys) { view.x += keys[event.key][0]; view.y += keys[event.key][1]; moved(); event.preventDefault(); }
  if (event.key === "+" || event.key === "=") zoom(1.4, view.x, view.y);
  if (event.key === "-") zoom(1 / 1.4, view.x, view.y);
});
function near(x, y) {
  const reach = 8 * (devicePixelRatio || 1) / view.scale;
  const found = data.marks.findIndex(([s, t]) => Math.hypot(s - x, t - y) < reach);
  if (found < 0) return "";
  const away = data.marks[found][2];
  return `Input ${found}` + (away ? `, ${away.toPrecision(3)} away from the plane` : "") + ". ";
}
function key() {
  const colour = choice(), list = document.getElementById("legend");
  list.replaceChildren();
  const entries = colour === "layer" ? data.names.map((name, l) => [SERIES[l % SERIES.length], name])
    : colour === "class" ? [...new Set(classes)].sort((a, b) => a - b).map((c) => [SERIES[c % SERIES.length], `class ${c}`]) : [];
  for (const [shade, text] of entries) {
    const item = document.createElement("li"), swatch = document.createElement("i");
    swatch.style.background = shade;
    item.append(swatch, text);
    list.append(item);
  }
}
for (const input of document.querySelectorAll("input")) input.addEventListener("change", () => { key(); render(); });
document.getElementById("whole").addEventListener("click", whole);
addEventListener("resize", whole);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", render);
key();
whole();
document.body.dataset.drawn = "yes";
