// A worker of the frame protocol (docs/wire.md) in JavaScript for Node, without packages: it answers
// each input with itself. "sleep" is answered after its cancel.
//
//	node echo.mjs
import fs from "node:fs";
import net from "node:net";
import process from "node:process";

const HELLO = 1, READY = 2, INFER = 3, RESULT = 4, ERROR = 5, CANCEL = 6, PING = 7, TRAIN = 10, DRAIN = 11;
const SKIP = 2, ANSWER = 4;
const HEADER_BYTES = 32, META_MAX = 1 << 20, BODY_MAX = 1 << 30, CONCURRENCY = 4;
const SIZES = { BOOL: 1, UINT8: 1, UINT16: 2, UINT32: 4, UINT64: 8, INT8: 1, INT16: 2, INT32: 4,
	INT64: 8, FP16: 2, BF16: 2, FP32: 4, FP64: 8 };

class Violation extends Error {}

// Bytes come in any pieces; frames go out whole.
class Parser {
	constructor(onFrame) {
		this.onFrame = onFrame;
		this.pieces = [];
		this.have = 0;
		this.want = HEADER_BYTES;
		this.frame = null;
		this.toSkip = 0n;
	}

	feed(piece) {
		this.pieces.push(piece);
		this.have += piece.length;
		for (;;) {
			if (this.toSkip > 0n) {
				const n = Math.min(this.have, Number(this.toSkip));
				this.take(n);
				this.toSkip -= BigInt(n);
			}
			if (this.toSkip > 0n || this.have < this.want)
				return;
			const bytes = this.take(this.want);
			if (this.frame === null)
				this.header(bytes);
			else
				this.rest(bytes);
		}
	}

	take(n) {
		const all = this.pieces.length === 1 ? this.pieces[0] : Buffer.concat(this.pieces);
		this.have -= n;
		this.pieces = this.have > 0 ? [all.subarray(n)] : [];
		return all.subarray(0, n);
	}

	header(bytes) {
		const kind = bytes[5], flags = bytes.readUInt16LE(6);
		const metaBytes = bytes.readUInt32LE(16), bodyBytes = bytes.readBigUInt64LE(24);
		if (bytes.toString("latin1", 0, 4) !== "MERF")
			throw new Violation("wrong magic");
		if (bytes[4] !== 1)
			throw new Violation("a version that was not agreed on");
		if (bytes.readUInt32LE(20) !== 0)
			throw new Violation("reserved bytes that are not 0");
		if (metaBytes > META_MAX || bodyBytes > BigInt(BODY_MAX))
			throw new Violation("lengths over their limits");
		if (kind === 0 || kind > DRAIN) {
			if (!(flags & SKIP))
				throw new Violation("an unknown kind");
			this.toSkip = BigInt(metaBytes) + bodyBytes;
			return;
		}
		this.frame = { kind, flags, id: bytes.readBigUInt64LE(8), metaBytes };
		this.want = metaBytes + Number(bodyBytes);
	}

	rest(bytes) {
		const frame = this.frame;
		this.frame = null;
		this.want = HEADER_BYTES;
		frame.raw = bytes.subarray(0, frame.metaBytes);
		frame.body = bytes.subarray(frame.metaBytes);
		frame.meta = parseMeta(frame.raw);
		this.onFrame(frame);
	}
}

function parseMeta(raw) {
	if (raw.length === 0)
		return {};
	let meta;
	try {
		meta = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(raw));
	} catch {
		meta = null;
	}
	if (meta === null || typeof meta !== "object" || Array.isArray(meta))
		throw new Violation("a meta that is no JSON object");
	return meta;
}

// Whether the lengths of the tensors fit the body.
function fits(tensors, body) {
	let at = 0;
	for (const { datatype, shape, parameters } of tensors) {
		const count = shape.reduce((product, length) => product * length, 1);
		const end = at + parameters.binary_data_size;
		if (end > body.length || datatype in SIZES && count * SIZES[datatype] !== end - at)
			return false;
		if (datatype === "BYTES") {
			for (let i = 0; i < count; i++) {
				if (at + 4 > end)
					return false;
				at += 4 + body.readUInt32LE(at);
			}
			if (at !== end)
				return false;
		}
		at = end;
	}
	return at === body.length;
}

// The connection, found before anything is printed. Node has no dup: /dev/fd/N opens a pipe again,
// and the same of what descriptor 1 is would be a broken frame, so console is sent to standard error.
function connect() {
	const word = process.env.MER_FRAME_FD;
	if (word !== undefined) {
		delete process.env.MER_FRAME_FD;
		const socket = new net.Socket({ fd: Number(word), readable: true, writable: true }); // close-on-exec
		return [socket, socket];
	}
	globalThis.console = new console.Console(process.stderr, process.stderr);
	return [process.stdin, process.stdout];
}

class Worker {
	constructor(input, output) {
		this.output = output;
		this.maxBody = BODY_MAX;
		this.isGreeted = false;
		this.open = new Map(); // id to what a cancel calls
		this.draining = false;
		const parser = new Parser((frame) => this.take(frame));
		input.on("data", (piece) => {
			try {
				parser.feed(piece);
			} catch (error) {
				if (!(error instanceof Violation))
					throw error;
				this.fail(0n, "protocol", error.message);
				this.leave(1);
			}
		});
		input.on("end", () => process.exit(0));
		input.on("error", () => process.exit(0));
		output.on("error", () => process.exit(0));
	}

	write(kind, flags, id, meta, body = Buffer.alloc(0)) {
		const text = Buffer.isBuffer(meta) ? meta : Buffer.from(JSON.stringify(meta));
		const head = Buffer.alloc(HEADER_BYTES);
		head.write("MERF", "latin1");
		head[4] = 1;
		head[5] = kind;
		head.writeUInt16LE(flags, 6);
		head.writeBigUInt64LE(id, 8);
		head.writeUInt32LE(text.length, 16);
		head.writeBigUInt64LE(BigInt(body.length), 24);
		this.output.write(Buffer.concat([head, text, body]));
	}

	fail(id, code, message) {
		this.write(ERROR, 0, id, { code, message });
	}

	leave(code) {
		this.output.end(() => process.exit(code));
	}

	take(frame) {
		if (!this.isGreeted)
			return this.greet(frame);
		switch (frame.kind) {
		case INFER:
			return this.infer(frame);
		case TRAIN:
			return this.fail(frame.id, "unsupported", "an echo learns nothing");
		case CANCEL:
			return this.open.get(frame.id)?.();
		case PING:
			if (!(frame.flags & ANSWER))
				this.write(PING, ANSWER, 0n, frame.raw, frame.body);
			return undefined;
		case DRAIN:
			this.draining = true;
			return this.settle();
		case ERROR:
			process.exit(1);
			break;
		default:
			throw new Violation("a kind that MER does not send");
		}
	}

	greet({ kind, meta }) {
		if (kind !== HELLO || !Array.isArray(meta.versions))
			throw new Violation("the first frame is no hello");
		this.isGreeted = true;
		if (!meta.versions.includes(1)) {
			this.fail(0n, "version", "this worker speaks version 1");
			return this.leave(1);
		}
		this.maxBody = meta.max_body ?? BODY_MAX;
		this.write(READY, 0, 0n, { version: 1, sdk: "echo.mjs 1.0", name: "echo", concurrency: CONCURRENCY,
			max_body: BODY_MAX, runtime: `Node ${process.versions.node}` });
	}

	infer({ id, meta, body }) {
		if (id === 0n || this.open.has(id))
			throw new Violation("an id that is 0 or open");
		if (meta.content === undefined && !fits(meta.inputs ?? [], body))
			throw new Violation("lengths that do not fit the tensors");
		if (meta.content !== undefined && body.toString() === "sleep") {
			this.open.set(id, () => {
				this.open.delete(id);
				this.fail(id, "cancelled", "as asked");
				this.settle();
			});
			return;
		}
		if (body.length > this.maxBody)
			this.fail(id, "limit", "the answer is larger than MER takes");
		else
			this.write(RESULT, 0, id, meta.content !== undefined ? { content: meta.content }
				: { outputs: meta.inputs ?? [] }, body);
	}

	settle() {
		if (this.draining && this.open.size === 0)
			this.leave(0);
	}
}

new Worker(...connect());
