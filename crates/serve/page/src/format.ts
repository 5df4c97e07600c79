// Numbers as people read them.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

export function count(value: number): string {
  return whole.format(value);
}

/** `1.4 MiB`: units of 1024, as the command line writes them. */
export function bytes(value: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${(value < 100 && unit > 0 ? tenths : whole).format(value)} ${units[unit]}`;
}

export function speed(tokensPerSecond: number): string {
  return (tokensPerSecond < 100 ? tenths : whole).format(tokensPerSecond);
}

/** A share from 0 to 1 in per cent; no share that is not all is called 100, and none that is not nothing 0. */
export function percent(share: number): string {
  const rounded = Math.round(share * 100);
  if (share < 1 && rounded === 100) return "99";
  if (share > 0 && rounded === 0) return "1";
  return String(rounded);
}

export function plural(number: number, thing: string): string {
  return `${count(number)} ${thing}${number === 1 ? "" : "s"}`;
}
