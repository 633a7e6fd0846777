// A dashboard in one file: connects, looks around, and tells what happens in its tenant.
//
//   node docs/examples/dashboard.ts ws://localhost:8080/dashboard TOKEN
//
// It needs nothing but Node 22.18 or newer. A browser runs the class as it is: a page cannot set headers of a
// WebSocket, so that the token goes along as a subprotocol.

type Answer = { id?: number; type: string; error?: { code: string; message: string; fix?: string }; [member: string]: unknown };
type Told = { type: "event" | "lagged"; subscription: string; event?: Record<string, unknown>; missed?: number };

/** An answer that is an error. */
export class DashboardError extends Error {
  readonly code: string;

  constructor(error: { code: string; message: string; fix?: string }) {
    super(error.fix ? `${error.message} (${error.fix})` : error.message);
    this.code = error.code;
  }
}

/** A connection to `/dashboard`. */
export class Dashboard {
  /** Called with every event of every subscription, and where some were missed. */
  onTold: (told: Told) => void = () => {};
  readonly #socket: WebSocket;
  readonly #waiting = new Map<number, { resolve: (answer: Answer) => void; reject: (error: Error) => void }>();
  #lastId = 0;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.addEventListener("message", (message) => this.#hear(JSON.parse(String(message.data))));
    socket.addEventListener("close", ({ code, reason }) => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`closed: ${code} ${reason}`));
      this.#waiting.clear();
    });
  }

  static async connect(url: string, token: string): Promise<Dashboard> {
    const bytes = new TextEncoder().encode(token);
    const encoded = btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
    const socket = new WebSocket(url, ["dashboard", `bearer.${encoded}`]);
    await new Promise<void>((resolve, reject) => {
      socket.addEventListener("open", () => resolve(), { once: true });
      socket.addEventListener("error", () => reject(new Error(`${url} cannot be opened`)), { once: true });
    });
    return new Dashboard(socket);
  }

  /** Sends a message and waits for its answer. */
  ask(type: string, members: Record<string, unknown> = {}): Promise<Answer> {
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#socket.send(JSON.stringify({ id, type, ...members }));
    });
  }

  close() {
    this.#socket.close();
  }

  #hear(answer: Answer) {
    if (answer.type === "event" || answer.type === "lagged") return this.onTold(answer as unknown as Told);
    const waiting = answer.id === undefined ? undefined : this.#waiting.get(answer.id);
    if (!waiting) return;
    this.#waiting.delete(answer.id!);
    if (answer.error) waiting.reject(new DashboardError(answer.error));
    else waiting.resolve(answer);
  }
}

async function main(url: string, token: string) {
  const dashboard = await Dashboard.connect(url, token);
  const info = await dashboard.ask("server_info");
  console.log(JSON.stringify({ server: info.server, context: info.context }));
  const tools = (await dashboard.ask("list_tools")).tools as { name: string }[];
  console.log(JSON.stringify({ tools: tools.map((tool) => tool.name) }));

  // What happens from now on: here, that a value is stored.
  const stored = new Promise<Told>((resolve) => (dashboard.onTold = resolve));
  const { subscription } = await dashboard.ask("subscribe_events", { filter: { detail_type: "KV.Set" } });
  const call = await dashboard.ask("mcp_call", { tool: "kv_set", arguments: { key: "seen", value: { by: "dashboard" } } });
  console.log(JSON.stringify({ result: call.result }));
  console.log(JSON.stringify({ told: await stored }));
  await dashboard.ask("unsubscribe_events", { subscription });

  const { health } = await dashboard.ask("health_check");
  const { metrics } = await dashboard.ask("request_metrics");
  console.log(JSON.stringify({ health: (health as { status: string }).status, metrics }));
  try {
    await dashboard.ask("context_switch", { tenant: "somebody-else" });
  } catch (error) {
    if (!(error instanceof DashboardError)) throw error;
    console.log(JSON.stringify({ refused: error.code }));
  }
  dashboard.close();
}

const [url, token] = process.argv.slice(2);
if (url && token) await main(url, token);
else console.error("usage: node dashboard.ts URL TOKEN");
