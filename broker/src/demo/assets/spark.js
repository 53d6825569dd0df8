// A sparkline: one or two series over a fixed number of points, drawn on a canvas in the colours of the page.

const redraws = new Set();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraws.forEach((redraw) => redraw()));

export class Spark {
  /** `top` fixes the upper end of the scale; without it the scale follows the largest value, but never below `topMin`. */
  constructor(canvas, { points = 60, top = null, topMin = 1 } = {}) {
    Object.assign(this, { canvas, points, top, topMin, values: [] });
    redraws.add(() => this.draw());
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  /** Adds one point: an array with one value for each series, or null for a hole. */
  push(point) {
    this.values.push(point);
    if (this.values.length > this.points) this.values.shift();
    this.draw();
  }

  draw() {
    const { canvas, points, values } = this;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (!width || !height) return;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);

    const style = getComputedStyle(canvas);
    const colours = [style.color, style.getPropertyValue("--second")];
    const present = values.filter(Boolean);
    const top = this.top ?? Math.max(this.topMin, ...present.flat()) * 1.12;
    const margin = 3;
    const x = (index) => margin + ((points - values.length + index) * (width - 2 * margin)) / (points - 1);
    const y = (value) => height - margin - (Math.min(value, top) / top) * (height - 2 * margin);

    pen.strokeStyle = style.getPropertyValue("--line");
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(0, height - 0.5);
    pen.lineTo(width, height - 0.5);
    pen.stroke();

    const series = present[0]?.length ?? 0;
    for (let which = series - 1; which >= 0; which--) {
      for (const run of runs(values)) {
        pen.beginPath();
        run.forEach((index) => pen.lineTo(x(index), y(values[index][which])));
        pen.strokeStyle = pen.fillStyle = colours[which];
        pen.lineWidth = 1.75;
        pen.lineJoin = pen.lineCap = "round";
        pen.stroke();
        pen.lineTo(x(run.at(-1)), height);
        pen.lineTo(x(run[0]), height);
        pen.globalAlpha = 0.1;
        pen.fill();
        pen.globalAlpha = 1;
      }
      const last = values.at(-1);
      if (!last) continue;
      pen.beginPath();
      pen.arc(x(values.length - 1), y(last[which]), 2.75, 0, 2 * Math.PI);
      pen.fillStyle = colours[which];
      pen.fill();
    }
  }
}

/** Stretches of neighbouring indices without a hole between them. */
function runs(values) {
  const found = [];
  let run = [];
  values.forEach((value, index) => {
    if (value) run.push(index);
    else if (run.length) {
      found.push(run);
      run = [];
    }
  });
  if (run.length) found.push(run);
  return found;
}
