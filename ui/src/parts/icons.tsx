/** Line icons of 24 units, drawn with the colour of the text. */
const PATHS = {
  overview: "M3 13h7V3H3zM14 21h7V11h-7zM14 3v4h7V3zM3 17v4h7v-4z",
  flows: "M6 3v12M18 9a3 3 0 1 0 0-6 3 3 0 0 0 0 6zM6 21a3 3 0 1 0 0-6 3 3 0 0 0 0 6zM18 9a9 9 0 0 1-9 9",
  executions: "M5 3l14 9-14 9z",
  approvals: "M20 6L9 17l-5-5",
  triggers: "M12 6v6l4 2M12 22a10 10 0 1 0 0-20 10 10 0 0 0 0 20z",
  callbacks: "M18 8a6 6 0 0 0-12 0c0 7-3 9-3 9h18s-3-2-3-9M10 21h4",
  config: "M4 21v-7M4 10V3M12 21v-9M12 8V3M20 21v-5M20 12V3M1 14h6M9 8h6M17 16h6",
  store: "M3 5h18v6H3zM3 13h18v6H3z",
  secrets: "M15 7a5 5 0 1 1-4.6 7L7 17H4v3H1v-4l8-8a5 5 0 0 1 6-1z",
  nodes: "M12 2l9 5v10l-9 5-9-5V7zM12 12l9-5M12 12v10M12 12L3 7",
  account: "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM4 21c0-4 4-6 8-6s8 2 8 6",
  workspace: "M9 11a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM2 21c0-4 3-6 7-6s7 2 7 6M16 3.5a4 4 0 0 1 0 7.5M18 15c3 .5 4.5 2.5 4.5 6",
  admin: "M12 2l8 4v6c0 5-3.5 8.5-8 10-4.5-1.5-8-5-8-10V6z",
  close: "M6 6l12 12M18 6L6 18",
  more: "M4 7h16M4 12h16M4 17h16",
  help: "M12 22a10 10 0 1 0 0-20 10 10 0 0 0 0 20zM9.5 9a2.5 2.5 0 1 1 3.5 2.3c-.7.4-1 1-1 1.7M12 17h.01",
  plus: "M12 5v14M5 12h14",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  filter: "M3 5h18l-7 8v6l-4-2v-4z",
  down: "M6 9l6 6 6-6",
  docs: "M5 3h10l4 4v14H5zM14 3v5h5M9 13h6M9 17h6",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg viewBox="0 0 24 24" width="16" height="16" fill="none" stroke="currentColor" stroke-width="1.75" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}
