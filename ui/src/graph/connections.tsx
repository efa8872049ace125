/** Connections that the reader of an editor draws between the nodes of a graph. */
import { signal, type ReadonlySignal } from "@preact/signals";
import type { Camera } from "./camera";

/** Return the line and the handlers of a drag from the handle of a node to another node. Args: onConnect: Called with both. */
export function connections(onConnect: (source: string, target: string) => void, camera: Camera) {
  const line = signal<string | undefined>(undefined);
  let from: { source: string; x: number; y: number } | undefined;
  let hasMoved = false;
  const pointIn = (event: PointerEvent & { currentTarget: HTMLElement }) => {
    const box = event.currentTarget.getBoundingClientRect();
    const scale = camera.scale.peek();
    return { x: (event.clientX - box.left) / scale, y: (event.clientY - box.top) / scale };
  };
  const handlers = {
    onPointerDown(event: PointerEvent & { currentTarget: HTMLElement }) {
      const source = (event.target as HTMLElement).closest<HTMLElement>("[data-source]")?.dataset.source;
      if (source === undefined || event.button !== 0) return;
      from = { source, ...pointIn(event) };
      hasMoved = false;
      event.currentTarget.setPointerCapture(event.pointerId);
    },
    onPointerMove(event: PointerEvent & { currentTarget: HTMLElement }) {
      const start = from;
      if (start === undefined) return;
      const { x, y } = pointIn(event);
      hasMoved ||= Math.hypot(x - start.x, y - start.y) > 6;
      if (hasMoved) line.value = `M${start.x} ${start.y}L${x} ${y}`;
    },
    onPointerUp(event: PointerEvent & { currentTarget: HTMLElement }) {
      const start = from;
      from = undefined;
      line.value = undefined;
      if (start === undefined) return;
      if (event.currentTarget.hasPointerCapture(event.pointerId)) event.currentTarget.releasePointerCapture(event.pointerId);
      if (!hasMoved) return void document.elementFromPoint(event.clientX, event.clientY)?.closest<HTMLElement>(".node-insert")?.click();
      const target = document.elementFromPoint(event.clientX, event.clientY)?.closest("li")?.querySelector<HTMLElement>("[data-node]")?.dataset.node;
      if (target !== undefined && target !== start.source) onConnect(start.source, target);
    },
    onClickCapture(event: Event) {
      // With the pointer captured, the click of the handle goes to the list, and `onPointerUp` sends the real one.
      if (event.target === event.currentTarget) event.stopPropagation();
    },
  };
  return { line: <DragLine path={line} />, handlers };
}

function DragLine({ path }: { path: ReadonlySignal<string | undefined> }) {
  return path.value === undefined ? null : <path class="drag-line" d={path.value} />;
}
