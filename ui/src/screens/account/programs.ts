/** Names of browsers and programs, from what they send as `User-Agent`. */

const BROWSERS: readonly [RegExp, string][] = [
  [/\bEdg\w*\/(\d+)/, "Edge"], [/\bOPR\/(\d+)/, "Opera"], [/\b(?:Firefox|FxiOS)\/(\d+)/, "Firefox"],
  [/\b(?:HeadlessChrome|Chrome|CriOS)\/(\d+)/, "Chrome"], [/\bVersion\/(\d+)[\d.]* (?:Mobile\/\w+ )?Safari\//, "Safari"],
];
const SYSTEMS: readonly [RegExp, string][] = [
  [/\b(?:iPhone|iPad)\b/, "iOS"], [/\bAndroid\b/, "Android"], [/\bWindows\b/, "Windows"], [/\bMac OS X\b/, "macOS"], [/\bCrOS\b/, "ChromeOS"], [/\bLinux\b/, "Linux"],
];

/** Return "Chrome 156 on Linux" for a browser, and the text as it is for other programs. */
export function programOf(agent: string): string {
  if (!agent.startsWith("Mozilla/")) return agent;
  for (const [pattern, name] of BROWSERS) {
    const version = pattern.exec(agent)?.[1];
    if (version === undefined) continue;
    const system = SYSTEMS.find(([found]) => found.test(agent))?.[1];
    return system === undefined ? `${name} ${version}` : `${name} ${version} on ${system}`;
  }
  return agent;
}
