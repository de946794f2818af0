/** Whether promises settle, counted in turns of the event loop, so that a slow machine changes nothing. */

const MOST_TURNS = 20_000;

/** What became of each call: `'ok'`, the code of its error, or `'pending'` after so many turns. */
export async function outcomes(calls: readonly Promise<unknown>[], mostTurns = MOST_TURNS): Promise<string[]> {
  const found = calls.map(() => 'pending');
  let left = calls.length;
  for (const [i, call] of calls.entries()) {
    call.then(
      () => {
        found[i] = 'ok';
        left--;
      },
      (error: unknown) => {
        found[i] = codeOf(error);
        left--;
      },
    );
  }
  for (let turn = 0; turn < mostTurns && left > 0; turn++) await nextTurn();
  return found;
}

function codeOf(error: unknown): string {
  return (error as { code?: string }).code ?? String(error);
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

export async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await nextTurn();
}
