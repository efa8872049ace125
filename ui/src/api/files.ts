/** Files that operations answer. */
import { common } from "../texts/common";
import { answerTo, ApiError, type Operation, type Options, type PathsWith } from "./client";

/** Return what an operation answers as a file, in the type of its header `Accept`. Raises: ApiError, also if the connection has ended within the file. */
export async function fileOf<P extends PathsWith<"get">>(path: P, accept: string, options: Options<Operation<P, "get">> = {}): Promise<Blob> {
  const headers = { ...options.headers, Accept: accept };
  const response = await answerTo("get", path as string, { ...options, headers } as Options<unknown>);
  try {
    return await response.blob();
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ApiError(0, "unreachable", common.cutOff, common.cutOffHint);
  }
}
