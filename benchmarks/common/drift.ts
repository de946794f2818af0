/** How late a 1 ms timer is while work goes on: how long the event loop was held. */
export class Drift {
  readonly #lateMs: number[] = [];
  #dueMs = performance.now() + 1;
  readonly #timer = setInterval(() => {
    const nowMs = performance.now();
    this.#lateMs.push(Math.max(0, nowMs - this.#dueMs));
    this.#dueMs = nowMs + 1;
  }, 1);

  end(): string {
    clearInterval(this.#timer);
    this.#lateMs.sort((a, b) => a - b);
    const p99 = this.#lateMs[Math.floor(this.#lateMs.length * 0.99)] ?? 0;
    return `a 1 ms timer was late by ${p99.toFixed(1)} ms at p99, ${(this.#lateMs.at(-1) ?? 0).toFixed(1)} ms at most`;
  }
}
