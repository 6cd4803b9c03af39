// The run's live feed: entries after the last one seen, again after every break.

const FIRST_WAIT_MS = 400;
const LONGEST_WAIT_MS = 10_000;
const BATCH_MS = 200;

/**
 * `onEntries` gets each batch once per frame; `onMessage` gets run and delta messages; `onState` connecting | reconnecting | replaying | synced.
 * `lastSeq()` is where to go on, `isOver()` whether nothing more will come.
 */
export class Feed {
  #socket = null;
  #wait = FIRST_WAIT_MS;
  #timer = 0;
  #batch = [];
  #asked = false;
  #state = '';

  constructor(runId, handlers) {
    this.runId = runId;
    this.handlers = handlers;
    addEventListener('online', () => this.#retryNow());
    document.addEventListener('visibilitychange', () => { if (!document.hidden) this.#retryNow(); });
    this.#connect('connecting');
  }

  #set(state) {
    if (state === this.#state) return;
    this.#state = state;
    this.handlers.onState(state);
  }

  #connect(state) {
    this.#set(state);
    const address = new URL(`/ws/runs/${encodeURIComponent(this.runId)}`, location.href);
    address.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
    // What is still in the batch has been received, so it is not asked for again.
    address.searchParams.set('after', String(this.#batch.at(-1)?.seq ?? this.handlers.lastSeq()));
    const socket = new WebSocket(address);
    this.#socket = socket;
    socket.addEventListener('message', (event) => this.#receive(JSON.parse(event.data)));
    socket.addEventListener('close', (event) => {
      if (this.#socket !== socket) return;
      this.#socket = null;
      this.#flush();
      if (this.handlers.isOver() && this.#state === 'synced') return;
      if (event.code === 1008) {
        this.#set('refused');
        return;
      }
      this.#set('reconnecting');
      this.#timer = setTimeout(() => this.#connect('reconnecting'), this.#wait * (0.5 + Math.random()));
      this.#wait = Math.min(this.#wait * 2, LONGEST_WAIT_MS);
    });
  }

  #retryNow() {
    if (this.#socket || this.#state !== 'reconnecting') return;
    clearTimeout(this.#timer);
    this.#wait = FIRST_WAIT_MS;
    this.#connect('reconnecting');
  }

  #receive(message) {
    if (message.type === 'event') {
      this.#batch.push(message);
      this.#ask();
    } else if (message.type === 'status') {
      this.#wait = FIRST_WAIT_MS;
      this.#flush();
      this.#set(message.state);
    } else {
      this.#flush();
      this.handlers.onMessage(message);
    }
  }

  #ask() {
    if (this.#asked) return;
    this.#asked = true;
    // While much arrives at once, drawing each frame would only slow it down; a hidden tab draws no frames at all.
    if (document.hidden || this.#state === 'replaying') setTimeout(() => this.#flush(), BATCH_MS);
    else requestAnimationFrame(() => this.#flush());
  }

  #flush() {
    this.#asked = false;
    if (this.#batch.length === 0) return;
    const batch = this.#batch;
    this.#batch = [];
    this.handlers.onEntries(batch);
  }
}
