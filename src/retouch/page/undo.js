// Undo and redo over whatever can be done and undone: strokes, results and photos alike.

const MOST_BYTES = 400e6;
const MOST_STEPS = 200;

export class Steps {
  constructor(onchange) {
    this.done = [];
    this.undone = [];
    this.onchange = onchange;
  }

  /**
   * Adds a step that was done, { undo(), redo(), bytes }, and returns it. The oldest are forgotten when they get too
   * many. What goes on with the last step becomes one with it.
   */
  push(step, last = null) {
    if (last && this.done.at(-1) === last) {
      this.done.pop();
      const own = step;
      step = {
        undo: () => (own.undo(), last.undo()),
        redo: () => (last.redo(), own.redo()),
        bytes: last.bytes + own.bytes,
      };
    }
    this.done.push(step);
    this.undone = [];
    let bytes = this.done.reduce((sum, one) => sum + one.bytes, 0);
    while (this.done.length > MOST_STEPS || (bytes > MOST_BYTES && this.done.length > 1)) {
      bytes -= this.done.shift().bytes;
    }
    this.onchange();
    return step;
  }

  undo() {
    const step = this.done.pop();
    if (!step) return;
    step.undo();
    this.undone.push(step);
    this.onchange();
  }

  redo() {
    const step = this.undone.pop();
    if (!step) return;
    step.redo();
    this.done.push(step);
    this.onchange();
  }
}
