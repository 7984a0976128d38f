// Draws each chart from the table beneath it, in the page's colours, and again when the theme changes.

const { Chart } = window;
const GAP = null;
const still = matchMedia("(prefers-reduced-motion: reduce)");
const drawn = new Map();

const STEPS_S = [1, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600];
const BYTES = ["B", "kB", "MB", "GB", "TB"];
const TICKS = {
  count: (value) => (Number.isInteger(value) ? value : null),
  percent: (value) => `${value}%`,
  duration: (value) => (value < 60 ? `${value}s` : `${Number((value / 60).toFixed(1))}m`),
  bytes: (value) => {
    const power = Math.min(Math.floor(Math.log10(Math.max(value, 1)) / 3), BYTES.length - 1);
    return `${Number((value / 1000 ** power).toFixed(1))} ${BYTES[power]}`;
  },
};

// The tokens are written with light-dark(): only a property that was computed tells which of the two holds.
const probe = document.body.appendChild(document.createElement("i"));
probe.hidden = true;

function colour(token, opacity = 1) {
  probe.style.color = `var(--${token})`;
  return Chart.helpers.color(getComputedStyle(probe).color).alpha(opacity).rgbString();
}

function read(table) {
  const rows = [...table.tBodies[0].rows];
  const [, ...columns] = table.tHead.rows[0].cells;
  const heads = columns.filter((head) => !("marks" in head.dataset));
  return {
    labels: rows.map((row) => row.cells[0].textContent.trim()),
    slices: rows.map((row) => row.cells[0].dataset.colour),
    marks: heads.length < columns.length ? rows.map((row) => [...row.cells].at(-1).textContent.trim()) : [],
    series: heads.map((head, at) => ({
      name: head.textContent,
      token: head.dataset.colour,
      values: rows.map(({ cells }) => (cells[at + 1].dataset.value === "" ? GAP : Number(cells[at + 1].dataset.value))),
      texts: rows.map(({ cells }) => cells[at + 1].textContent.trim()),
    })),
  };
}

const LOOKS = {
  area: ({ token, values }) => ({ borderColor: colour(token), backgroundColor: colour(token, 0.15), fill: true, ...line(values) }),
  line: ({ token, values }) => ({ borderColor: colour(token), backgroundColor: colour(token), ...line(values) }),
  bar: ({ token }) => ({ backgroundColor: colour(token), borderRadius: 3 }),
  rows: ({ token }) => ({ backgroundColor: colour(token), borderRadius: 3 }),
  pie: (_, slices) => ({ backgroundColor: slices.map((token) => colour(token)), borderColor: colour("card"), borderWidth: 2 }),
};
const LINE = { borderWidth: 2, clip: 6, pointHoverRadius: 4, spanGaps: true, cubicInterpolationMode: "monotone" };

// One point alone has no line to be seen by.
function line(values) {
  return { ...LINE, pointRadius: values.filter((value) => value !== GAP).length > 1 ? 2 : 4 };
}

// Durations are read in halves and wholes of minutes, not in tens of seconds.
function step(unit, highest) {
  return unit === "duration" ? STEPS_S.find((one) => highest / one <= 5) : undefined;
}

function axes(kind, unit, highest) {
  if (kind === "pie") return {};
  const text = { color: colour("muted-foreground"), font: { size: 11 } };
  const measure = {
    beginAtZero: true,
    max: unit === "percent" ? 100 : undefined,
    ticks: { ...text, callback: TICKS[unit], maxTicksLimit: 6, stepSize: step(unit, highest) },
    grid: { color: colour("border") },
    border: { display: false },
  };
  const names = { ticks: { ...text, maxRotation: 0, autoSkipPadding: 12 }, grid: { display: false }, border: { color: colour("border") } };
  return kind === "rows" ? { x: measure, y: names } : { x: names, y: measure };
}

// A line across at each row where something happened.
const MARKS = {
  id: "marks",
  beforeDatasetsDraw({ ctx, chartArea, scales }, _, { marks, token }) {
    ctx.save();
    ctx.strokeStyle = colour(token);
    ctx.setLineDash([3, 3]);
    for (const [at, mark] of marks.entries()) {
      if (mark === "") continue;
      const x = Math.round(scales.x.getPixelForValue(at)) + 0.5;
      ctx.beginPath();
      ctx.moveTo(x, chartArea.top);
      ctx.lineTo(x, chartArea.bottom);
      ctx.stroke();
    }
    ctx.restore();
  },
};

function tooltip(series, marks) {
  return {
    backgroundColor: colour("popover"),
    borderColor: colour("border"),
    borderWidth: 1,
    titleColor: colour("foreground"),
    bodyColor: colour("foreground"),
    padding: 10,
    footerColor: colour("muted-foreground"),
    footerFont: { weight: "normal" },
    callbacks: {
      label: ({ datasetIndex, dataIndex }) => ` ${series[datasetIndex].name}: ${series[datasetIndex].texts[dataIndex]}`,
      footer: ([{ dataIndex }]) => marks[dataIndex] ?? "",
    },
  };
}

function draw(canvas, animation) {
  const { chart: kind, unit, table } = canvas.dataset;
  const { labels, slices, series, marks } = read(document.querySelector(`#${table} table`));
  const highest = Math.max(...series.flatMap(({ values }) => values));
  drawn.get(canvas)?.destroy();
  const config = {
    type: { area: "line", rows: "bar" }[kind] ?? kind,
    data: { labels, datasets: series.map((one) => ({ label: one.name, data: one.values, ...LOOKS[kind](one, slices) })) },
    options: {
      animation,
      maintainAspectRatio: false,
      indexAxis: kind === "rows" ? "y" : "x",
      interaction: kind === "pie" ? { mode: "nearest" } : { mode: "index", intersect: false, axis: kind === "rows" ? "y" : "x" },
      scales: axes(kind, unit, highest),
      plugins: { legend: { display: false }, tooltip: tooltip(series, marks), marks: { marks, token: "amber" } },
    },
    plugins: marks.length > 0 ? [MARKS] : [],
  };
  drawn.set(canvas, new Chart(canvas, config));
}

function drawAll(animation) {
  Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
  for (const canvas of document.querySelectorAll("canvas[data-chart]")) draw(canvas, animation);
}

function show(button) {
  const table = document.getElementById(button.dataset.shows);
  const shown = table.toggleAttribute("data-shown");
  button.setAttribute("aria-expanded", shown);
}

document.addEventListener("click", ({ target }) => {
  const button = target.closest("[data-shows]");
  if (button) show(button);
});
new MutationObserver(() => drawAll(false)).observe(document.documentElement, { attributeFilter: ["data-theme"] });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll(false));
drawAll(still.matches ? false : { duration: 400 });
