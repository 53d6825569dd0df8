// What the broker, or something on the way to it, says instead of what was asked for.

/** A refusal. `code` is a word of the broker's table of errors, or `unreachable` or `http_502` where it was not the broker. */
export class TidingsError extends Error {
  override readonly name = "TidingsError";
  constructor(
    /** The code word. */
    readonly code: string,
    message: string,
    /** Whether the same may pass later. */
    readonly retry: boolean,
    /** How long to wait before that, in milliseconds. */
    readonly after = 0,
  ) {
    super(message);
  }
}

export interface Told {
  code?: string;
  message?: string;
  retry?: boolean;
  retry_after_ms?: number;
}

/** An error object of the broker. */
export const told = (error: Told, after = error.retry_after_ms): TidingsError =>
  new TidingsError(error.code ?? "unknown", error.message ?? error.code ?? "refused", error.retry !== false, after);

/** Whether the broker itself said it. */
export const isTold = (error: unknown): error is TidingsError => error instanceof TidingsError && !/^(http_|unr)/.test(error.code);

/** Throws when an answer is not what was asked for. */
export async function check(response: Response): Promise<Response> {
  if (response.ok) return response;
  const header = response.headers.get("retry-after") ?? "";
  const after = (Number(header) || 0) * 1000 || Math.max(0, Date.parse(header) - Date.now()) || 0;
  const answer = await response.json().catch(() => null);
  if (answer?.error?.code) throw told(answer.error, after);
  const { status } = response;
  throw new TidingsError(`http_${status}`, `something on the way answered ${status}`, status > 499 || status === 429, after);
}
