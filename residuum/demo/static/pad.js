// A canvas to draw strokes on, with mouse, finger, pen or keys. Coordinates are 0..255.

const SIDE = 255;
const PEN = 0.075; // width of a line as a share of the side
const NEAR = 3; // points closer than this are left out
const MOST_POINTS = 3500; // what the server reads

export class Pad {
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.changed = changed;
    this.strokes = [];
    this.current = null;
    this.cursor = null; // [x, y] while drawing with keys
    canvas.addEventListener("pointerdown", (event) => this.#start(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, () => this.#end());
    }
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("blur", () => this.#leave());
    this.paint();
  }

  set(strokes) {
    this.strokes = strokes;
    this.current = null;
    this.paint();
  }

  clear() {
    this.set([]);
    this.changed();
  }

  undo() {
    this.set(this.strokes.slice(0, -1));
    this.changed();
  }

  #place(event) {
    const box = this.canvas.getBoundingClientRect();
    const at = (value, start, size) =>
      Math.min(Math.max(Math.round(((value - start) / size) * SIDE), 0), SIDE);
    return [at(event.clientX, box.left, box.width), at(event.clientY, box.top, box.height)];
  }

  #start(event) {
    if (event.button !== 0) return;
    event.preventDefault();
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    this.cursor = null;
    this.#begin(this.#place(event));
  }

  #move(event) {
    if (!this.current || this.cursor) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length ? events : [event]) this.#add(this.#place(each));
  }

  #begin(point) {
    this.current = [point];
    this.strokes = [...this.strokes, this.current];
    this.#drawn();
  }

  #add(point) {
    const last = this.current.at(-1);
    const near = Math.hypot(point[0] - last[0], point[1] - last[1]) < NEAR;
    const points = this.strokes.reduce((sum, stroke) => sum + stroke.length, 0);
    if (near || points >= MOST_POINTS) return;
    this.current.push(point);
    this.#drawn();
  }

  #end() {
    if (this.current && !this.cursor) {
      this.current = null;
      this.changed();
    }
  }

  #drawn() {
    this.paint();
    this.changed();
  }

  #leave() {
    if (!this.cursor) return;
    this.cursor = null;
    this.current = null;
    this.paint();
  }

  #key(event) {
    const step = event.shiftKey ? 4 : 12;
    const moves = {
      ArrowLeft: [-step, 0],
      ArrowRight: [step, 0],
      ArrowUp: [0, -step],
      ArrowDown: [0, step],
    };
    if (event.key in moves) {
      const [dx, dy] = moves[event.key];
      const [x, y] = this.cursor ?? [SIDE >> 1, SIDE >> 1];
      this.cursor = [Math.min(Math.max(x + dx, 0), SIDE), Math.min(Math.max(y + dy, 0), SIDE)];
      if (this.current) this.#add(this.cursor);
      else this.paint();
    } else if (event.key === " " || event.key === "Enter") {
      this.cursor ??= [SIDE >> 1, SIDE >> 1];
      if (this.current) {
        this.current = null;
        this.#drawn();
      } else this.#begin(this.cursor);
    } else if (event.key === "Backspace") {
      this.undo();
    } else if (event.key === "Delete") {
      this.clear();
    } else return;
    event.preventDefault();
  }

  paint() {
    const { canvas } = this;
    const context = canvas.getContext("2d");
    const scale = canvas.width / SIDE;
    context.fillStyle = "#0b0e12";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.lineCap = context.lineJoin = "round";
    context.lineWidth = PEN * canvas.width;
    context.strokeStyle = "#fff";
    for (const stroke of this.strokes) {
      context.beginPath();
      const [x0, y0] = stroke[0];
      context.moveTo(x0 * scale, y0 * scale);
      for (const [x, y] of stroke) context.lineTo(x * scale, y * scale);
      context.stroke();
    }
    if (this.cursor) {
      const [x, y] = this.cursor.map((value) => value * scale);
      context.lineWidth = 3;
      context.strokeStyle = this.current ? "#f08a3c" : "#4fa8dc";
      context.beginPath();
      context.arc(x, y, 0.6 * PEN * canvas.width, 0, 2 * Math.PI);
      context.stroke();
    }
  }
}
