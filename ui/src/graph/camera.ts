/** Zoom and scroll of a picture in a scrolling element. */
import { signal } from "@preact/signals";

const MIN = 0.15;
const MAX = 2;
/** Smaller than this, names cannot be read: a big picture begins larger and at one node. */
const READABLE = 0.75;
const STEP = 1.25;
/** The height at the bottom that the tools of the picture cover; the style has the same. */
const TOOLS = 44;

export interface Point {
  readonly x: number;
  readonly y: number;
}

export interface Rect extends Point {
  readonly width: number;
  readonly height: number;
}

export class Camera {
  readonly scale = signal(1);
  element: HTMLElement | null = null;

  readonly attach = (element: HTMLElement | null): void => {
    this.element = element;
  };

  /** Show all of a picture if its names stay readable, and otherwise the rectangle at a readable size. */
  fit(width: number, height: number, at: Rect | undefined): void {
    const whole = this.wholeScale(width, height);
    this.scale.value = Math.max(whole, READABLE);
    if (at !== undefined) queueMicrotask(() => this.centre(at));
  }

  /** Show all of the picture, however small. */
  fitAll(width: number, height: number): void {
    this.scale.value = this.wholeScale(width, height);
  }

  zoomBy(factor: number, at?: Point): void {
    const element = this.element;
    if (element === null) return;
    const before = this.scale.peek();
    const after = Math.min(MAX, Math.max(MIN, before * factor));
    const box = element.getBoundingClientRect();
    const [x, y] = at === undefined ? [box.width / 2, box.height / 2] : [at.x - box.left, at.y - box.top];
    const point = { x: (element.scrollLeft + x) / before, y: (element.scrollTop + y) / before };
    this.scale.value = after;
    // The content has its new size only after the next rendering.
    requestAnimationFrame(() => element.scrollTo(point.x * after - x, point.y * after - y));
  }

  zoomIn = (): void => this.zoomBy(STEP);
  zoomOut = (): void => this.zoomBy(1 / STEP);

  /** Scroll so that the rectangle is visible, and no further. */
  reveal(rect: Rect): void {
    const element = this.element;
    if (element === null) return;
    const scale = this.scale.peek();
    const margin = 24;
    element.scrollTo(
      nearest(element.scrollLeft, element.clientWidth, rect.x * scale - margin, (rect.x + rect.width) * scale + 2 * margin),
      nearest(element.scrollTop, element.clientHeight - TOOLS, rect.y * scale - margin, (rect.y + rect.height) * scale + 2 * margin),
    );
  }

  private centre(rect: Rect): void {
    const element = this.element;
    if (element === null) return;
    const scale = this.scale.peek();
    element.scrollTo(
      (rect.x + rect.width / 2) * scale - element.clientWidth / 2,
      (rect.y + rect.height / 2) * scale - element.clientHeight / 3,
    );
  }

  private wholeScale(width: number, height: number): number {
    const element = this.element;
    if (element === null || width === 0 || element.clientWidth === 0) return 1;
    return Math.max(MIN, Math.min(1, element.clientWidth / width, (element.clientHeight - TOOLS) / height));
  }
}

function nearest(at: number, size: number, from: number, to: number): number {
  if (from < at || to - from > size) return from;
  return Math.max(at, to - size);
}
