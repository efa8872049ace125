/** The events of an execution over the WebSocket: from a number on, in order, resumed after each interruption. */
import { signal } from "@preact/signals";
import { ApiError } from "../api/client";
import { whileSeen } from "../api/query";

export interface EventMessage {
  type: "execution_update" | "node_completed" | "log" | "execution_completed" | "execution_failed";
  seq: number;
  timestamp: string;
  status?: string;
  node_id?: string;
  node_type?: string;
  step?: string;
  scope?: string;
  attempt?: number;
  waiting_for?: { type: string };
  retry_at?: string;
  error?: string;
  action?: string;
  skipped?: boolean;
  level?: "debug" | "info" | "warn" | "error";
  message?: string;
  received?: string;
  scopes?: number;
  scope_outcome?: string;
}

/**
 * `stale`: there has been no connection for so long that what is shown may be old; `gone`: the account can no longer
 * read the execution.
 */
export type StreamState = "connecting" | "live" | "reconnecting" | "stale" | "gone" | "ended";

const DELAYS = [300, 1000, 2000, 4000, 8000];
const STALE_AFTER = 15_000;
const NORMAL = 1000;
/** Milliseconds without an event after which the connection is made anew: one that a sleep or a router has cut says nothing of it. */
const SILENCE = 60_000;

export class EventStream {
  readonly state = signal<StreamState>("connecting");
  private socket: WebSocket | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private failures = 0;
  private lostAt: number | undefined;
  private isClosed = false;
  private heardAt = 0;
  private readonly stopListening: () => void;

  /**
   * @param after The number of the last event that is known already.
   * @param onEvents Called with new events, at most once in each frame.
   * @param check Asks the server whether the execution and its events after a number can still be read; it waits for a new login if that is needed.
   */
  constructor(
    private readonly id: string,
    private after: number,
    private readonly onEvents: (events: EventMessage[]) => void,
    private readonly check: (after: number) => Promise<unknown>,
  ) {
    this.connect();
    window.addEventListener("online", this.hurry);
    window.addEventListener("offline", this.lose);
    document.addEventListener("visibilitychange", this.hurry);
    this.stopListening = whileSeen(() => this.listen(), SILENCE / 4);
  }

  private connect(): void {
    this.heardAt = Date.now();
    this.socket?.close();
    const base = window.location.origin.replace(/^http/, "ws");
    const socket = (this.socket = new WebSocket(`${base}/ws/executions/${encodeURIComponent(this.id)}?after=${this.after}`));
    socket.onopen = () => {
      this.failures = 0;
      this.lostAt = undefined;
      this.state.value = "live";
    };
    let collected: EventMessage[] = [];
    const flush = () => {
      const events = collected;
      collected = [];
      if (events.length > 0 && !this.isClosed) this.onEvents(events);
    };
    socket.onmessage = ({ data }) => {
      const event = JSON.parse(data as string) as EventMessage;
      this.heardAt = Date.now();
      if (event.seq <= this.after) return;
      this.after = event.seq;
      if (collected.push(event) === 1) {
        // A page in the background gets no frames.
        if (document.visibilityState === "visible") requestAnimationFrame(flush);
        else setTimeout(flush, 500);
      }
    };
    socket.onclose = ({ code }) => {
      flush();
      if (this.isClosed || this.socket !== socket) return;
      if (code === NORMAL) this.state.value = "ended";
      else this.retry();
    };
  }

  private retry(): void {
    this.lostAt ??= Date.now();
    this.state.value = Date.now() - this.lostAt > STALE_AFTER ? "stale" : "reconnecting";
    const delay = DELAYS[Math.min(this.failures++, DELAYS.length - 1)]!;
    this.timer = setTimeout(this.reconnect, delay);
  }

  /** Give the connection up: without a network, its end would be noticed only much later. */
  private readonly lose = (): void => {
    const { socket } = this;
    if (this.state.peek() !== "live") return;
    this.socket = undefined;
    socket?.close();
    this.retry();
  };

  /** Make a connection anew on which nothing was heard for long, and give it up if that takes long. */
  private listen(): void {
    if (this.state.peek() !== "live") return;
    if (this.socket?.readyState !== WebSocket.OPEN) this.lose();
    else if (Date.now() - this.heardAt > SILENCE) this.connect();
  }

  /** Try now what would be tried later: the network is back, or somebody looks. */
  private readonly hurry = (): void => {
    if (this.timer === undefined || document.visibilityState !== "visible") return;
    clearTimeout(this.timer);
    this.failures = 0;
    void this.reconnect();
  };

  private readonly reconnect = async (): Promise<void> => {
    this.timer = undefined;
    try {
      await this.check(this.after);
    } catch (error) {
      if (this.isClosed) return;
      if (error instanceof ApiError && error.status === 404) this.state.value = "gone";
      else this.retry();
      return;
    }
    // What is shown has just been loaded.
    this.lostAt = undefined;
    if (!this.isClosed) this.connect();
  };

  close(): void {
    this.isClosed = true;
    clearTimeout(this.timer);
    window.removeEventListener("online", this.hurry);
    window.removeEventListener("offline", this.lose);
    document.removeEventListener("visibilitychange", this.hurry);
    this.stopListening();
    this.socket?.close();
  }
}
