// Handlers by event name.

type Handler<Value> = (value: Value) => void;

/** Whatever has `on` and `off`. */
export class Emitter<Events> {
  readonly #handlers = new Map<keyof Events, Set<Handler<never>>>();

  /** Calls `handler` at each such event. */
  on<Name extends keyof Events>(name: Name, handler: Handler<Events[Name]>): this {
    const handlers = this.#handlers.get(name) ?? new Set();
    this.#handlers.set(name, handlers.add(handler));
    return this;
  }

  /** Calls it no more. */
  off<Name extends keyof Events>(name: Name, handler: Handler<Events[Name]>): this {
    this.#handlers.get(name)?.delete(handler);
    return this;
  }

  /** @internal */
  _emit<Name extends keyof Events>(name: Name, value: Events[Name]): void {
    for (const handler of [...(this.#handlers.get(name) ?? [])] as unknown as Handler<Events[Name]>[]) {
      try {
        handler(value);
      } catch (error) {
        // Somebody's mistake must not cost anybody else a message; it is seen where uncaught errors are seen.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}
