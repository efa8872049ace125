/** A graph as a list of buttons over a drawing: it is walked by arrow keys and read as a list. */
import { effect, useComputed, useSignal, type ReadonlySignal, type Signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useId, useLayoutEffect, useMemo, useRef } from "preact/hooks";
import { graph as texts } from "../texts/graph";
import { Camera } from "./camera";
import type { connections as Connections } from "./connections";
import { layoutGraph, type Frame, type Layout, type PlacedLink, type PlacedNode } from "./layout";
import type { Graph } from "./model";
import type { NodeStatus, StateSource } from "./states";
import { firstOf, STEPS, walk } from "./walk";

/** What is special about a node: it differs between two graphs, or the document has a fault there. */
export type Mark = "added" | "removed" | "changed" | "fault";

export interface GraphViewProps {
  graph: Graph;
  /** What the list is called: "Flow graph". */
  label?: string;
  selected: Signal<string | undefined>;
  /** Called when the reader chooses a node. */
  onSelect?: (id: string) => void;
  states?: StateSource;
  /** The node to keep in sight while `isFollowing`, which ends when the reader moves the picture. */
  latest?: ReadonlySignal<string | undefined>;
  isFollowing?: Signal<boolean>;
  marks?: ReadonlyMap<string, Mark>;
  /** Nodes whose child scopes are folded at first. */
  folded?: Iterable<string>;
  /** Nodes that have something inside which is loaded when it is asked for. */
  openable?: ReadonlyMap<string, unknown>;
  onOpen?: (id: string) => void;
  /** Offer to insert a node after one. */
  onInsertAfter?: (id: string) => void;
  /** How the reader drags from one node to another; only an editor has it. */
  connections?: (camera: Camera) => ReturnType<typeof Connections>;
}

const MARGIN = 24;

export function GraphView(props: GraphViewProps) {
  const { graph, selected, states, marks } = props;
  const folded = useSignal<ReadonlySet<string>>(new Set(props.folded));
  const layout = useMemo(() => timed("graph.layout", () => layoutGraph(graph, folded.value)), [graph, folded.value]);
  const camera = useMemo(() => new Camera(), []);
  const list = useRef<HTMLUListElement>(null);
  const canConnect = props.connections !== undefined;
  const drag = useMemo(() => props.connections?.(camera), [canConnect]);
  const named = useMemo(() => new Map(layout.nodes.map((placed) => [placed.node.id, placed])), [layout]);
  const targets = useMemo(() => targetsOf(layout), [layout]);
  const open = useMemo(() => new Set(layout.frames.map(({ owner }) => owner)), [layout]);
  const active = useComputed(() => (selected.value !== undefined && named.has(selected.value) ? selected.value : firstOf(layout)?.node.id));
  const [width, height] = [layout.width + 2 * MARGIN, layout.height + 2 * MARGIN];

  function reveal(id: string | undefined): void {
    const at = id === undefined ? undefined : named.get(id);
    if (at !== undefined) camera.reveal({ ...at, x: at.x + MARGIN, y: at.y + MARGIN });
  }

  // The first picture begins at a readable size; later ones stay where the reader is.
  const isEmpty = layout.nodes.length === 0;
  useLayoutEffect(() => {
    if (!isEmpty) camera.fit(width, height, named.get(active.peek() ?? ""));
  }, [isEmpty]);
  useEffect(() => {
    // A panel that opens beside the graph must not cover the node that it is about.
    const observer = new ResizeObserver(() => {
      if (!props.isFollowing?.peek()) reveal(selected.peek());
    });
    if (camera.element !== null) observer.observe(camera.element);
    const stop = selected.subscribe(reveal);
    return () => {
      observer.disconnect();
      stop();
    };
  }, [layout]);

  const { latest: newest, isFollowing } = props;
  function stay(): void {
    if (isFollowing !== undefined) isFollowing.value = false;
  }
  useEffect(() => effect(() => {
    let id = isFollowing?.value ? newest?.value : undefined;
    // What is inside a folded node is in sight with it.
    while (id && !named.has(id)) id = id.slice(0, Math.max(0, id.lastIndexOf("/")));
    reveal(id);
  }), [layout, newest, isFollowing]);

  function toggle(id: string): void {
    if (props.openable?.has(id)) {
      props.onOpen?.(id);
      return;
    }
    const next = new Set(folded.peek());
    if (!next.delete(id)) next.add(id);
    folded.value = next;
  }

  function choose(id: string): void {
    selected.value = id;
    props.onSelect?.(id);
  }

  function onKeyDown(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const at = (event.target as HTMLElement).dataset.node;
    if (at === undefined) return;
    const step = STEPS[event.key];
    if (step !== undefined) {
      const next = walk(layout, at, step);
      choose(next);
      list.current?.querySelector<HTMLElement>(`[data-node="${CSS.escape(next)}"]`)?.focus({ preventScroll: true });
    } else if (event.key === " " && (named.get(at)!.hidden > 0 || props.openable?.has(at) || graph.nodes.some(({ parent }) => parent === at))) toggle(at);
    else if (event.key === "+") camera.zoomIn();
    else if (event.key === "-") camera.zoomOut();
    else if (event.key === "0") camera.fitAll(width, height);
    else return;
    event.preventDefault();
  }

  const id = useId();
  const canInsert = props.onInsertAfter !== undefined;
  const on = useRef<Handlers>({}).current;
  Object.assign(on, { choose, toggle, insertAfter: props.onInsertAfter });
  // Made once for each picture: what is around it, such as an editor, is often rendered again.
  const drawing = useMemo(() => <Drawing id={id} layout={layout} states={states} drag={drag?.line} />, [layout, states, drag]);
  const nodes = useMemo(
    () =>
      layout.nodes.map((placed) => (
        <Node
          key={placed.node.id}
          placed={placed}
          targets={targets.get(placed.node.id) ?? ""}
          isOpen={open.has(placed.node.id)}
          isOpenable={props.openable?.has(placed.node.id) ?? false}
          selected={selected}
          active={active}
          states={states}
          mark={marks?.get(placed.node.id)}
          on={on}
          canInsert={canInsert}
          canConnect={canConnect}
        />
      )),
    [layout, states, marks, props.openable, selected, canInsert, canConnect],
  );
  return (
    <div class="graph" style={{ "--whole": `${height}px` }}>
      <div class="graph-scroll" ref={camera.attach} {...usePanning(camera)} onPointerDownCapture={stay} onWheelCapture={stay}>
        {isEmpty && <p class="graph-empty muted">{texts.empty}</p>}
        <Canvas camera={camera} width={width} height={height}>
          {drawing}
          <ul ref={list} aria-label={texts.label(props.label ?? texts.flow, layout.nodes.length)} aria-describedby={`${id}-help`} onKeyDown={onKeyDown} {...drag?.handlers}>
            {nodes}
          </ul>
          <span class="hidden" id={`${id}-help`}>{texts.help}</span>
        </Canvas>
      </div>
      <div class="graph-tools" role="group" aria-label={texts.zoom}>
        <button aria-label={texts.zoomOut} title={texts.zoomOut} onClick={camera.zoomOut}>−</button>
        <button class="graph-scale" aria-label={texts.fit} title={texts.fit} onClick={() => camera.fitAll(width, height)}><Percent of={camera.scale} /></button>
        <button aria-label={texts.zoomIn} title={texts.zoomIn} onClick={camera.zoomIn}>+</button>
        {(["SVG", "PNG"] as const).map((format) => <button key={format} class="graph-save" aria-label={texts.saveAs(format)} title={texts.saveAs(format)} onClick={() => void import("./save").then(({ save }) => save(layout, format))}>{format}</button>)}
        {isFollowing && <button class="graph-follow" title={texts.followHint} aria-pressed={isFollowing.value} onClick={() => (isFollowing.value = !isFollowing.value)}>{texts.follow}</button>}
      </div>
    </div>
  );
}

function Percent({ of }: { of: ReadonlySignal<number> }) {
  return <>{Math.round(of.value * 100)}%</>;
}

function Canvas({ camera, width, height, children }: { camera: Camera; width: number; height: number; children: ComponentChildren }) {
  const scale = camera.scale.value;
  return (
    <div class="graph-space" style={{ width: `${width * scale}px`, height: `${height * scale}px` }}>
      <div class="graph-canvas" style={{ width: `${width}px`, height: `${height}px`, transform: `scale(${scale})`, "--scale": String(scale) }}>{children}</div>
    </div>
  );
}

/** Run something; how long it took is the last measure of this name for the tools of the browser. */
function timed<T>(name: string, work: () => T): T {
  const from = performance.now();
  const result = work();
  performance.clearMeasures(name);
  performance.measure(name, { start: from, end: performance.now() });
  return result;
}

/** Return the names of the nodes that each node leads to. */
function targetsOf(layout: Layout): ReadonlyMap<string, string> {
  const labels = new Map(layout.nodes.map(({ node }) => [node.id, node.label]));
  const targets = new Map<string, string>();
  for (const { link } of layout.links) {
    const before = targets.get(link.source);
    const label = labels.get(link.target) ?? "";
    targets.set(link.source, before === undefined ? label : `${before}, ${label}`);
  }
  return targets;
}

const CLASSES: Record<NodeStatus, string> = {
  pending: "", untaken: "dim", running: "run", retrying: "wait", waiting: "wait", completed: "ok", skipped: "dim", failed: "bad", cancelled: "off",
};

interface NodeProps {
  placed: PlacedNode;
  targets: string;
  isOpen: boolean;
  isOpenable: boolean;
  selected: Signal<string | undefined>;
  active: ReadonlySignal<string | undefined>;
  states: StateSource | undefined;
  mark: Mark | undefined;
  canInsert: boolean;
  canConnect: boolean;
  /** Always those of the last rendering of the view. */
  on: Handlers;
}

type Handlers = { [name in "choose" | "toggle" | "insertAfter"]?: (id: string) => void };

function Node({ placed, targets, isOpen, isOpenable, selected, active, states, mark, canInsert, canConnect, on }: NodeProps) {
  const { node, hidden } = placed;
  const isSelected = useComputed(() => selected.value === node.id);
  const isActive = useComputed(() => active.value === node.id);
  const state = states?.node(node.id).value;
  const role = "role" in node ? texts.roles[String(node.role)] : undefined;
  const details = [node.type, role, state?.detail].filter(Boolean).join(" · ");
  const status = state === undefined ? (mark && texts.marks[mark]) : texts.statusOf(state.status);
  const canFold = isOpen || hidden > 0 || isOpenable;
  return (
    <li style={{ left: `${placed.x + MARGIN}px`, top: `${placed.y + MARGIN}px`, width: `${placed.width}px`, height: `${placed.height}px` }}>
      <button
        class={`node ${state ? CLASSES[state.status] : ""} ${mark ? `mark-${mark}` : ""} ${hidden > 0 || isOpenable ? "stacked" : ""}`}
        data-node={node.id}
        tabIndex={isActive.value ? 0 : -1}
        aria-current={isSelected.value ? "true" : undefined}
        aria-expanded={canFold ? isOpen : undefined}
        aria-label={texts.node(node.label, details, status, targets === "" ? [] : [targets])}
        onClick={() => on.choose?.(node.id)}
      >
        <b class="cut" title={node.label}>{node.label}</b>
        <span class="node-kind cut" title={details || undefined}>{hidden > 0 ? `${details} · ${texts.hidden(hidden)}` : details || " "}</span>
        {state?.time && <span class="node-time">{state.time}</span>}
      </button>
      {canFold && (
        <button class="node-fold" tabIndex={-1} aria-label={isOpen ? texts.fold(node.label) : texts.unfold(node.label)} onClick={() => on.toggle?.(node.id)}>
          {isOpen ? "−" : "+"}
        </button>
      )}
      {canInsert && !("isPart" in node) && (
        <button class="node-insert" tabIndex={-1} data-source={canConnect ? node.id : undefined} aria-label={texts.insertAfter(node.label)} title={texts.insertAfter(node.label)} onClick={() => on.insertAfter?.(node.id)}>+</button>
      )}
    </li>
  );
}

function Drawing({ id, layout, states, drag }: { id: string; layout: Layout; states: StateSource | undefined; drag: ComponentChildren }) {
  return (
    <svg class="graph-lines" aria-hidden="true" width={layout.width + 2 * MARGIN} height={layout.height + 2 * MARGIN}>
      <defs>
        {["line", "taken", "failed"].map((kind) => (
          <marker key={kind} id={`${id}-${kind}`} class={`arrow ${kind}`} viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" markerUnits="userSpaceOnUse" orient="auto">
            <path d="M0.5 0.5L7.5 4L0.5 7.5z" />
          </marker>
        ))}
      </defs>
      <g transform={`translate(${MARGIN} ${MARGIN})`}>
        {layout.frames.map((frame) => <FrameBox key={`${frame.owner}\n${frame.title ?? ""}\n${frame.depth}`} frame={frame} />)}
        {layout.links.map((placed) => <Line key={`${placed.link.source}\n${placed.link.target}`} id={id} placed={placed} states={states} />)}
      </g>
      {drag}
    </svg>
  );
}

function FrameBox({ frame }: { frame: Frame }) {
  return (
    <g class={frame.title === null ? "frame" : "frame branch"}>
      <rect x={frame.x} y={frame.y} width={frame.width} height={frame.height} rx="10" />
      {frame.title !== null && <text x={frame.x + 10} y={frame.y + 15}>{frame.title}</text>}
    </g>
  );
}

function Line({ id, placed, states }: { id: string; placed: PlacedLink; states: StateSource | undefined }) {
  const { link, path, label } = placed;
  const isTaken = states?.link(link.source, link.target).value ?? false;
  const kind = !isTaken ? "line" : link.isError ? "failed" : "taken";
  return (
    <g class={`link ${isTaken ? "taken" : ""} ${link.isError ? "error" : ""} ${states !== undefined && !isTaken ? "faint" : ""}`}>
      <path d={path} marker-end={`url(#${id}-${kind})`} />
      {label && <text x={label.x} y={label.y} text-anchor={label.anchor}>{label.text}</text>}
    </g>
  );
}

/** Drag the background to move the picture; the wheel with Ctrl zooms. */
function usePanning(camera: Camera) {
  const from = useRef<{ x: number; y: number; left: number; top: number } | undefined>(undefined);
  return {
    onPointerDown(event: PointerEvent & { currentTarget: HTMLElement }) {
      if (event.button !== 0 || event.pointerType === "touch" || (event.target as HTMLElement).closest("button")) return;
      const element = event.currentTarget;
      from.current = { x: event.clientX, y: event.clientY, left: element.scrollLeft, top: element.scrollTop };
      element.setPointerCapture(event.pointerId);
    },
    onPointerMove(event: PointerEvent & { currentTarget: HTMLElement }) {
      if (from.current === undefined) return;
      event.currentTarget.scrollTo(from.current.left - event.clientX + from.current.x, from.current.top - event.clientY + from.current.y);
    },
    onLostPointerCapture() {
      from.current = undefined;
    },
    onWheel(event: WheelEvent) {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      camera.zoomBy(event.deltaY < 0 ? 1.1 : 1 / 1.1, { x: event.clientX, y: event.clientY });
    },
  };
}
