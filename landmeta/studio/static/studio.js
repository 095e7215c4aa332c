// The page of the studio. Map coordinates are pixels of the image: lng = column, lat = -row.
/* global L */

const $ = (id) => document.getElementById(id);
const UNDO_STEPS = 200;
const POLL_MS = 250;

const state = await ask("state");
let classes = state.classes;
let chosen = classes[0]?.name ?? null;
let tool = null;
let drawing = state.drawing;
let past = [];
let version = state.job.number;
let overlay = null;
let saving = Promise.resolve();

// -- asking the server --------------------------------------------------------------------------

async function ask(address, method = "GET", body = undefined) {
  const answer = await fetch(address, { method, body: body && JSON.stringify(body) });
  const said = await answer.json().catch(() => ({ what: answer.statusText, remedy: "" }));
  if (!answer.ok) throw new Error([said.what, said.remedy].filter(Boolean).join("\n"));
  return said;
}

function say(words, wrong = false) {
  $("words").textContent = words;
  $("words").className = wrong ? "error" : "";
}

const guarded = (work) => async (...given) => {
  try {
    await work(...given);
  } catch (error) {
    say(error.message, true);
  }
};

// -- the map ------------------------------------------------------------------------------------

const deepest = state.levels - 1;
const bounds = [[-state.height, 0], [0, state.width]];
const map = L.map("map", {
  crs: L.CRS.Simple,
  minZoom: -deepest - 1,
  maxZoom: 5,
  zoomSnap: 0.5,
  attributionControl: false,
  doubleClickZoom: false,
}).fitBounds(bounds);

function tiles(layer, opacity = 1) {
  return L.tileLayer(`tiles/${layer}/{z}/{x}/{y}.png?v=${layer === "image" ? 0 : version}`, {
    bounds, opacity, className: "pixels",
    minZoom: -deepest - 1, maxZoom: 5, minNativeZoom: -deepest, maxNativeZoom: 0, zoomOffset: deepest,
  });
}
tiles("image").addTo(map);

const shapes = L.featureGroup().addTo(map);
const places = L.featureGroup().addTo(map);
const color = (name) => classes.find((c) => c.name === name)?.color ?? "#ffffff";
window.studioMap = map;  // for tests and for the curious
const toPixels = (p) => [p.lng, -p.lat];
const toMap = ([col, row]) => [-row, col];

function show() {
  shapes.clearLayers();
  drawing.forEach((shape, index) => {
    const style = { color: "#ffffff", weight: 1.5, fillColor: color(shape.label), fillOpacity: 0.75, pmIgnore: true };
    const at = shape.geometry.coordinates;
    const layer = shape.geometry.type === "Point"
      ? L.circleMarker(toMap(at), { ...style, radius: 5 })
      : L.polygon(at.map((ring) => ring.map(toMap)), style);
    layer.bindTooltip(shape.label);
    layer.on("click", (event) => {
      if (tool !== "erase") return;
      L.DomEvent.stop(event);
      change(drawing.filter((_, i) => i !== index));
    });
    shapes.addLayer(layer);
  });
  $("undo").disabled = past.length === 0;
}

// -- drawing ------------------------------------------------------------------------------------

function change(next) {
  past = [...past, drawing].slice(-UNDO_STEPS);
  put(next);
}

function put(next) {
  drawing = next;
  show();
  // One after another, so that the last drawing is the one that is kept.
  saving = saving.then(guarded(async () => count((await ask("drawing", "PUT", drawing)).pixels)));
}

function undo() {
  if (past.length === 0) return;
  const last = past.at(-1);
  past = past.slice(0, -1);
  put(last);
}

function take(name) {
  tool = tool === name ? null : name;
  map.pm.disableDraw();
  if ((tool === "Polygon" || tool === "Marker") && chosen === null) {
    tool = null;
    say("Add or choose a class first.", true);
  }
  if (tool === "Polygon") {
    const style = { color: color(chosen), weight: 2 };
    map.pm.enableDraw("Polygon", { templineStyle: style, hintlineStyle: { ...style, dashArray: [4, 4] }, pathOptions: style, tooltips: false, continueDrawing: true, snappable: false, finishOn: "dblclick" });
  }
  document.querySelectorAll("[data-tool]").forEach((b) => b.classList.toggle("active", b.dataset.tool === tool));
  map.getContainer().classList.toggle("drawing", tool !== null);
  $("hint").textContent = {
    Polygon: "Click the corners; double-click the last one.",
    Marker: "Click pixels.",
    erase: "Click what is to go.",
  }[tool] ?? "";
}

map.on("pm:create", ({ layer }) => {
  map.removeLayer(layer);
  const ring = layer.getLatLngs()[0].map(toPixels);
  change([...drawing, { label: chosen, geometry: { type: "Polygon", coordinates: [[...ring, ring[0]]] } }]);
});
map.on("click", ({ latlng }) => {
  if (tool !== "Marker") return;
  const [col, row] = toPixels(latlng);
  if (col < 0 || row < 0 || col >= state.width || row >= state.height) return;
  change([...drawing, { label: chosen, geometry: { type: "Point", coordinates: [col, row] } }]);
});
document.querySelectorAll("[data-tool]").forEach((b) => b.addEventListener("click", () => take(b.dataset.tool)));
$("undo").addEventListener("click", undo);
document.addEventListener("keydown", (event) => {
  if (event.target.tagName === "INPUT" && event.target.type !== "radio") return;
  if ((event.ctrlKey || event.metaKey) && event.key === "z") { event.preventDefault(); undo(); }
  if (event.key === "Escape" && tool) take(tool);
});

// -- classes ------------------------------------------------------------------------------------

function list() {
  $("classes").replaceChildren(...classes.map(({ name, color }) => {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.dataset.name = name;
    button.setAttribute("aria-pressed", name === chosen);
    const swatch = document.createElement("span");
    swatch.className = "swatch";
    swatch.style.background = color;
    const count = document.createElement("span");
    count.className = "count";
    button.append(swatch, document.createTextNode(name), count);
    button.addEventListener("click", () => choose(name));
    item.append(button);
    return item;
  }));
}

function choose(name) {
  chosen = name;
  document.querySelectorAll("#classes button").forEach((b) => b.setAttribute("aria-pressed", b.dataset.name === name));
  if (tool === "Polygon") { tool = null; take("Polygon"); }  // in the new colour
}

function count(pixels) {
  document.querySelectorAll("#classes button").forEach((b) => {
    b.querySelector(".count").textContent = pixels[b.dataset.name] ? `${pixels[b.dataset.name]} px` : "";
  });
}

$("new-class").addEventListener("submit", guarded(async (event) => {
  event.preventDefault();
  const made = await ask("classes", "POST", { name: $("class-name").value });
  classes = [...classes, made];
  $("class-name").value = "";
  list();
  choose(made.name);
  say("");
}));

// -- adapting -----------------------------------------------------------------------------------

$("adapt").addEventListener("click", guarded(async () => {
  await saving;
  await watch(await ask("adapt", "POST", { hold_out: $("hold-out").checked, seen: seen() }));
}));
$("map-all").addEventListener("click", guarded(async () => { await watch(await ask("map-all", "POST")); }));
$("suggest").addEventListener("click", guarded(async () => { await watch(await ask("suggest", "POST", { seen: seen() })); }));
$("cancel").addEventListener("click", guarded(async () => { await ask("cancel", "POST"); }));

function seen() {
  const now = map.getBounds();
  return [now.getWest(), -now.getNorth(), now.getEast() - now.getWest(), now.getNorth() - now.getSouth()];
}

async function watch(job) {
  busy(true);
  while (job.stage === "running") {
    say(job.words);
    if (job.share === null) $("progress").removeAttribute("value");
    else $("progress").value = job.share;
    await new Promise((wake) => setTimeout(wake, POLL_MS));
    job = await ask("job");
  }
  busy(false);
  say(job.words, job.stage === "failed");
  if (job.stage === "done") {
    version = job.number;
    await refresh();
  }
}

function busy(on) {
  $("adapt").disabled = on;
  $("suggest").disabled = on;
  $("map-all").disabled = on;
  $("cancel").hidden = !on;
  $("progress").hidden = !on;
}

async function refresh() {
  const now = await ask("state");
  $("layers").hidden = !now.mapped;
  $("map-all").hidden = !(now.large && now.mapped);
  $("exports").replaceChildren(...now.exports.map((name) => {
    const item = document.createElement("li");
    const link = document.createElement("a");
    link.href = `export/${name}`;
    link.textContent = name;
    link.download = "";
    item.append(link);
    return item;
  }));
  $("folder").textContent = now.exports.length ? `All of it is in ${now.folder}` : "";
  if (now.mapped) look();
  places.clearLayers();
  now.places.forEach(({ col, row, size, guess }, i) => {
    const corners = [[-row, col], [-row - size, col + size]];
    L.rectangle(corners, { color: "#ff00aa", weight: 3, fill: false, pmIgnore: true, interactive: false })
      .bindTooltip(`${i + 1}: ${guess}?`, { permanent: true, direction: "right", className: "place" })
      .addTo(places);
  });
  count(now.pixels);
}

// -- looking ------------------------------------------------------------------------------------

function look() {
  const layer = document.querySelector("[name=layer]:checked").value;
  $("ramp").hidden = layer !== "confidence";
  const before = overlay;
  overlay = layer === "none" ? null : tiles(layer, Number($("opacity").value)).addTo(map);
  // The old one stays until the new one is there, so that nothing flickers.
  if (before) overlay ? overlay.once("load", () => before.remove()) : before.remove();
}

document.querySelectorAll("[name=layer]").forEach((radio) => radio.addEventListener("change", look));
$("opacity").addEventListener("input", () => overlay?.setOpacity(Number($("opacity").value)));

// -- beginning ----------------------------------------------------------------------------------

$("image").textContent = state.image;
$("new-class").hidden = !state.openLegend;
list();
show();
await refresh();
say(state.notes.join("\n"));
if (state.job.stage === "running") await guarded(watch)(state.job);
document.body.dataset.ready = "";
