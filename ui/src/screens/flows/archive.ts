/** Zip archives, read by the browser. */

const ENTRY = 0x02014b50;
const END = 0x06054b50;
/** Bytes of the end of the directory, of one of its entries and of the head of a file, without what is of variable length. */
const SIZES = { end: 22, entry: 46, head: 30 };

/** Return the files of an archive. Raises: Error: It is none, or has a file that is packed in another way than usual. */
export async function filesIn(archive: Blob): Promise<{ name: string; text: string }[]> {
  const view = new DataView(await archive.arrayBuffer());
  let end = view.byteLength - SIZES.end;
  while (view.getUint32(end, true) !== END) end--;
  let at = view.getUint32(end + 16, true);
  const short = (place: number) => view.getUint16(place, true);
  return await Promise.all(Array.from({ length: short(end + 10) }, async () => {
    if (view.getUint32(at, true) !== ENTRY) throw new Error("no entry");
    const [method, size, length, head] = [short(at + 10), view.getUint32(at + 20, true), short(at + 28), view.getUint32(at + 42, true)];
    const name = new TextDecoder().decode(new Uint8Array(view.buffer, at + SIZES.entry, length));
    at += SIZES.entry + length + short(at + 30) + short(at + 32);
    const begin = head + SIZES.head + short(head + 26) + short(head + 28);
    const packed = archive.slice(begin, begin + size);
    const text = method === 0 ? packed.text() : new Response(packed.stream().pipeThrough(new DecompressionStream("deflate-raw"))).text();
    return { name, text: await text };
  }));
}
