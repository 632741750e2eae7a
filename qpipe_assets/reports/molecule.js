// Molecules that turn with the mouse: the still picture is replaced by a canvas where there is a script.
"use strict";
for (const figure of document.querySelectorAll("figure[data-scene]")) {
  const scene = JSON.parse(figure.dataset.scene);
  const still = figure.querySelector("svg");
  const canvas = document.createElement("canvas");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "molecule, drag to turn");
  still.replaceWith(canvas);
  figure.querySelector("figcaption").append("; drag to turn");
  const context = canvas.getContext("2d");
  // Rows of the rotation from the still picture's view to the present one.
  let view = [[1, 0, 0], [0, 1, 0], [0, 0, 1]];
  let dragged = null;

  const turned = (p) => view.map((row) => row[0] * p[0] + row[1] * p[1] + row[2] * p[2]);
  const times = (a, b) => a.map((row) => b[0].map((_, j) => row.reduce((sum, x, k) => sum + x * b[k][j], 0)));

  function turn(right, down) {
    const [a, b] = [right * 0.012, down * 0.012];
    const around = [[Math.cos(a), 0, Math.sin(a)], [0, 1, 0], [-Math.sin(a), 0, Math.cos(a)]];
    const over = [[1, 0, 0], [0, Math.cos(b), -Math.sin(b)], [0, Math.sin(b), Math.cos(b)]];
    view = times(over, times(around, view));
    draw();
  }

  function shade(colour, brightness) {
    const part = (k) => parseInt(colour.slice(1 + 2 * k, 3 + 2 * k), 16);
    const mix = (x) => (brightness <= 1 ? x * brightness : x + (255 - x) * Math.min(1, 3 * (brightness - 1)));
    return `rgb(${[0, 1, 2].map((k) => Math.round(mix(part(k)))).join(" ")})`;
  }

  function draw() {
    const ratio = window.devicePixelRatio || 1;
    const width = canvas.clientWidth, height = 0.75 * width;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const scale = (ratio * Math.min(width, height)) / (2.1 * scene.reach);
    const at = (p) => [canvas.width / 2 + scale * p[0], canvas.height / 2 - scale * p[1]];
    const places = scene.balls.map((ball) => turned(ball.at));
    const parts = scene.balls.map((ball, i) => [places[i][2], () => drawBall(ball, at(places[i]), scale)]);
    for (const [i, j] of scene.bonds) {
      for (const [near, far] of [[i, j], [j, i]]) {
        const [p, q] = [places[near], places[far]];
        const length = Math.hypot(...q.map((x, k) => x - p[k]));
        const start = p.map((x, k) => x + (0.9 * scene.balls[near].radius * (q[k] - x)) / length);
        const end = p.map((x, k) => x + 0.505 * (q[k] - x));
        const colour = scene.balls[near].colour;
        parts.push([(start[2] + end[2]) / 2, () => drawStick(at(start), at(end), colour, scale * scene.stick)]);
      }
    }
    parts.sort((one, other) => one[0] - other[0]).forEach((part) => part[1]());
  }

  function drawBall(ball, [x, y], scale) {
    const r = scale * ball.radius;
    const light = context.createRadialGradient(x - 0.28 * r, y - 0.32 * r, 0.1 * r, x, y, r);
    light.addColorStop(0, shade(ball.colour, 1.2));
    light.addColorStop(0.5, shade(ball.colour, 0.95));
    light.addColorStop(1, shade(ball.colour, 0.62));
    context.fillStyle = light;
    context.beginPath();
    context.arc(x, y, r, 0, 2 * Math.PI);
    context.fill();
    context.fillStyle = ball.ink;
    context.font = `bold ${Math.max(0.8 * scale * scene.smallest, 11)}px sans-serif`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillText(ball.symbol, x, y);
  }

  function drawStick([x, y], [u, v], colour, radius) {
    context.lineCap = "butt";
    for (const [width, brightness] of [[2, 0.72], [1.24, 0.94], [0.5, 1.12]]) {
      context.strokeStyle = shade(colour, brightness);
      context.lineWidth = width * radius;
      context.beginPath();
      context.moveTo(x, y);
      context.lineTo(u, v);
      context.stroke();
    }
  }

  canvas.addEventListener("pointerdown", (event) => {
    dragged = [event.clientX, event.clientY];
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!dragged) return;
    turn(event.clientX - dragged[0], event.clientY - dragged[1]);
    dragged = [event.clientX, event.clientY];
  });
  canvas.addEventListener("pointerup", () => { dragged = null; });
  canvas.addEventListener("pointercancel", () => { dragged = null; });
  new ResizeObserver(draw).observe(figure);
  draw();
}
