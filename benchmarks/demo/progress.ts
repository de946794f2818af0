/** A progress bar on a terminal; on anything else one line at the end. */
const WIDTH = 40;

export class ProgressBar {
  readonly #label: string;
  readonly #total: number;
  #shown = -1;

  constructor(label: string, total: number) {
    this.#label = label;
    this.#total = total;
  }

  show(done: number): void {
    const filled = Math.floor((done / this.#total) * WIDTH);
    if (!process.stdout.isTTY || filled === this.#shown) return;
    this.#shown = filled;
    process.stdout.write(`\r${this.#label} [${'='.repeat(filled)}${' '.repeat(WIDTH - filled)}]`);
  }

  end(summary: string): void {
    const start = process.stdout.isTTY ? `\r${' '.repeat(WIDTH + this.#label.length + 3)}\r` : '';
    process.stdout.write(`${start}${this.#label}: ${summary}\n`);
  }
}
