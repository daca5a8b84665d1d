/** What was opened, in order; closing runs backwards and goes on past a failure, which it throws at the end. */
export interface Closing {
  add(close: () => void | Promise<void>): void;
  close(): Promise<void>;
}

export function createClosing(): Closing {
  const steps: (() => void | Promise<void>)[] = [];
  return {
    add: (close) => steps.push(close),
    async close() {
      let failure: { readonly error: unknown } | undefined;
      for (let step = steps.pop(); step !== undefined; step = steps.pop()) {
        try {
          await step();
        } catch (error) {
          failure ??= { error };
        }
      }
      if (failure !== undefined) throw failure.error;
    },
  };
}
