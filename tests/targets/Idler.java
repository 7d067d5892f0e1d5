/** A Java program with a large heap limit, little of it used, and named threads that wait. */
public class Idler {
    static final long[] marks = new long[512];

    static void idle() {
        try {
            Thread.sleep(Long.MAX_VALUE);
        } catch (InterruptedException ended) {
            Thread.currentThread().interrupt();
        }
    }

    public static void main(String[] words) throws Exception {
        long seed = System.nanoTime() | 1, state = seed;
        for (int i = 0; i < marks.length; i++) {
            state ^= state << 13;
            state ^= state >>> 7;
            state ^= state << 17;
            marks[i] = state;
        }
        for (int i = 0; i < 5; i++) {
            Thread thread = new Thread(Idler::idle, "idler-" + i);
            thread.setDaemon(true);
            thread.start();
        }
        Thread.sleep(300);
        System.out.println("fact mark_seed " + Long.toUnsignedString(seed));
        System.out.println("ready java=1");
        byte[] line = new byte[64];
        long answered = 0;
        while (System.in.read(line) > 0) {
            // Some work for the collector, which stops threads by its own means.
            StringBuilder text = new StringBuilder();
            for (int i = 0; i < 20000; i++) {
                text.append(i);
            }
            System.out.println("report answered=" + ++answered + " length=" + text.length());
        }
    }
}
